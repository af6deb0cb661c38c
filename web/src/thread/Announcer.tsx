/** Tells screen readers what changed in one calm sentence, instead of reading every token aloud. */
export function Announcer() {
  return <p className="visually-hidden" role="status" />;
}
