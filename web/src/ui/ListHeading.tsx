import { Button } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import type { Connection } from "../live/follow";
import classes from "./ListHeading.module.css";
import { LiveDot } from "./LiveDot";
import { usePage } from "./usePage";

interface ListHeadingProps {
  title: string;
  connection?: Connection;
  create: string;
  onCreate: () => void;
}

/** What a page with a list begins with: its title, whether it follows, and the way to one more. */
export function ListHeading({ title, connection, create, onCreate }: ListHeadingProps) {
  const heading = usePage(title);
  return (
    <div className={classes.heading}>
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {connection && <LiveDot connection={connection} />}
      <Button className={classes.create ?? ""} leftSection={<IconPlus size={16} aria-hidden />} onClick={onCreate}>
        {create}
      </Button>
    </div>
  );
}
