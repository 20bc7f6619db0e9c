import { Link } from "wouter";
import { Empty } from "./Empty";
import { usePage } from "./usePage";

export function NotFoundPage() {
  const heading = usePage("Not found");
  return (
    <Empty>
      <h1 ref={heading} tabIndex={-1}>
        There is nothing here
      </h1>
      <p>Either it does not exist, or it is not yours to see.</p>
      <Link href="/">To the jobs</Link>
    </Empty>
  );
}
