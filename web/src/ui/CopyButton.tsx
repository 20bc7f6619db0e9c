import { Button } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy } from "@tabler/icons-react";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const { copied, copy } = useClipboard({ timeout: 2_000 });
  // Browsers give no clipboard to a page without HTTPS.
  if (!navigator.clipboard) return null;
  const Icon = copied ? IconCheck : IconCopy;
  return (
    <Button size="compact-sm" variant="default" leftSection={<Icon size={14} aria-hidden />} onClick={() => copy(text)}>
      <span aria-live="polite">{copied ? "Copied" : label}</span>
    </Button>
  );
}
