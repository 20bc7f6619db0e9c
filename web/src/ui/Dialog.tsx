import { Modal } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { type ReactNode, useEffect, useState } from "react";

interface DialogProps {
  title: string;
  onClose: () => void;
  size?: "md" | "lg" | "xl";
  children: ReactNode;
}

/** A dialog over the page, or the whole of a small screen. Shown as long as it is rendered. */
export function Dialog({ title, onClose, size = "md", children }: DialogProps) {
  useFocusReturn();
  const small = useMediaQuery("(max-width: 640px)");
  return (
    <Modal
      opened
      onClose={onClose}
      title={title}
      size={size}
      fullScreen={small ?? false}
      padding="lg"
      // Its own way writes a style element, which the content security policy refuses; base.css does it.
      lockScroll={false}
      // A click beside it would lose what was typed.
      closeOnClickOutside={false}
      transitionProps={{ duration: 0 }}
      // The page has a banner already.
      attributes={{ header: { role: "none" } }}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {children}
    </Modal>
  );
}

/** Give the focus back to what opened the dialog: Mantine does so when a dialog closes, not when it is gone at once. */
function useFocusReturn() {
  const [opener] = useState(() => document.activeElement);
  useEffect(
    () => () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    },
    [opener],
  );
}
