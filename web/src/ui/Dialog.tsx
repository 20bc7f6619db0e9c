import { Button, Modal } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { type ReactNode, useEffect, useState } from "react";
import { DialogFoot } from "./DialogFoot";

interface DialogProps {
  title: string;
  onClose: () => void;
  /** Whether something was typed that closing would lose. */
  unsaved?: boolean;
  size?: "sm" | "md" | "lg" | "xl";
  children: ReactNode;
}

/** A dialog over the page, or (not of size "sm") the whole of a small screen. Shown as long as it is rendered. */
export function Dialog({ title, onClose, unsaved = false, size = "md", children }: DialogProps) {
  useFocusReturn();
  const [asking, setAsking] = useState(false);
  const small = useMediaQuery("(max-width: 640px)");
  return (
    <>
      <Modal
        opened
        onClose={() => (unsaved ? setAsking(true) : onClose())}
        closeOnEscape={!asking}
        title={title}
        size={size}
        fullScreen={small === true && size !== "sm"}
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
      {asking && <Discarding onDiscard={onClose} onKeep={() => setAsking(false)} />}
    </>
  );
}

function Discarding({ onDiscard, onKeep }: { onDiscard: () => void; onKeep: () => void }) {
  return (
    <Dialog title="Discard what you have typed?" size="sm" onClose={onKeep}>
      <DialogFoot error={null}>
        <Button data-autofocus onClick={onKeep}>
          Keep editing
        </Button>
        <Button variant="default" onClick={onDiscard}>
          Discard
        </Button>
      </DialogFoot>
    </Dialog>
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
