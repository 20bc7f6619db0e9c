import { Button, SegmentedControl } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useMemo } from "react";
import type { AttemptFragment, JobPartsFragment } from "../gql/graphql";
import { Card } from "../ui/Card";
import { CopyButton } from "../ui/CopyButton";
import { JsonTree } from "../ui/JsonTree";
import { download } from "./download";
import { QuotedAnswer } from "./QuotedAnswer";
import { quotesOf } from "./quotes";
import { ShapeView } from "./ShapeView";
import { asText, shapeOf } from "./shape";

export type Mode = "readable" | "quotes" | "json";
const MODES: Record<Mode, string> = { readable: "Readable", quotes: "Evidence", json: "JSON" };

interface AnswerCardProps {
  job: JobPartsFragment;
  /** The latest that was answered. */
  attempt: AttemptFragment | null;
  /** Null: what is usual. */
  chosen: Mode | null;
  onChoose: (mode: Mode) => void;
}

/** The result of a completed job, or else the answer that was not accepted. */
export function AnswerCard({ job, attempt, chosen, onChoose }: AnswerCardProps) {
  const completed = job.status === "COMPLETED";
  const value = completed ? job.result : (attempt?.answer ?? null);
  const results = attempt?.validation?.criteria;
  const quotes = useMemo(() => quotesOf(results ?? []), [results]);
  const modes: Mode[] = quotes.length > 0 ? ["readable", "quotes", "json"] : ["readable", "json"];
  // A large answer is not written anew with each event of the page.
  const text = useMemo(() => asText(value), [value]);
  if (value === null) return null;
  const usual: Mode = !completed && quotes.length > 0 ? "quotes" : "readable";
  const mode = chosen !== null && modes.includes(chosen) ? chosen : usual;
  return (
    <Card
      title={completed ? "Result" : `Answer of attempt ${attempt?.number}`}
      actions={
        <>
          <SegmentedControl
            size="xs"
            aria-label="How it is shown"
            value={mode}
            onChange={(next) => onChoose(next as Mode)}
            data={modes.map((each) => ({ value: each, label: MODES[each] }))}
          />
          <CopyButton text={text} />
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<IconDownload size={14} aria-hidden />}
            onClick={() => download(value, job.title)}
          >
            Download
          </Button>
        </>
      }
    >
      {mode === "readable" && <ShapeView shape={shapeOf(value)} label={completed ? "Result" : "Answer"} />}
      {mode === "quotes" && <QuotedAnswer value={value} quotes={quotes} />}
      {mode === "json" && <JsonTree value={value} label={completed ? "Result" : "Answer"} />}
    </Card>
  );
}
