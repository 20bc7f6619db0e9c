import { legibleJson } from "../api/json";

export interface Piece {
  text: string;
  /** Which quote this is a part of; null: none. */
  quote: number | null;
}

/**
 * Cut a text where it is quoted.
 *
 * A quote was taken from the answer as compact JSON, or from a text inside it; the text shown here is laid out for
 * people. So white space does not count, and a quote is looked for with and without JSON's escapes.
 */
export function highlight(text: string, quotes: readonly string[]): Piece[] {
  const bare = withoutSpace(text);
  const quoted = new Array<number | null>(text.length).fill(null);
  quotes.forEach((quote, index) => {
    for (const form of new Set([quote, unescaped(quote)])) {
      for (const [start, end] of occurrences(bare, withoutSpace(form).text)) {
        quoted.fill(index, start, end);
      }
    }
  });
  return pieces(text, quoted);
}

/** JSON as people read it: line by line, and what is escaped in its texts is not. */
export function printed(value: unknown): string {
  return typeof value === "string" ? value : unescaped(legibleJson(value));
}

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };

const unescaped = (json: string) => json.replace(/\\([nrt"\\])/g, (_, letter: string) => ESCAPES[letter] ?? letter);

interface Bare {
  text: string;
  /** Where each of its characters stands in the text that it was made of. */
  positions: number[];
}

function withoutSpace(text: string): Bare {
  const positions: number[] = [];
  let bare = "";
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (/\s/.test(character)) continue;
    bare += character;
    positions.push(index);
  }
  return { text: bare, positions };
}

function* occurrences({ text, positions }: Bare, quote: string): Generator<[start: number, end: number]> {
  if (quote === "") return;
  for (let at = text.indexOf(quote); at >= 0; at = text.indexOf(quote, at + quote.length)) {
    const start = positions[at];
    const last = positions[at + quote.length - 1];
    if (start !== undefined && last !== undefined) yield [start, last + 1];
  }
}

function pieces(text: string, quoted: (number | null)[]): Piece[] {
  const found: Piece[] = [];
  let start = 0;
  for (let index = 1; index <= text.length; index += 1) {
    if (index < text.length && quoted[index] === quoted[start]) continue;
    found.push({ text: text.slice(start, index), quote: quoted[start] ?? null });
    start = index;
  }
  return found.filter((piece) => piece.text !== "");
}
