/** A key that nobody else has. crypto.randomUUID would need HTTPS, which a network of one's own may lack. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
