import { asText } from "./shape";

/** Save a value as a file: text as text, everything else as JSON. */
export function download(value: unknown, title: string): void {
  const text = typeof value === "string";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asText(value)], { type: text ? "text/plain" : "application/json" }));
  link.download = `${fileName(title)}.${text ? "txt" : "json"}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

const fileName = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60) || "result";
