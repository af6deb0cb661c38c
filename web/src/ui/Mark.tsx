/** Corral's mark: a fence. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M8 9v15M16 7v17M24 9v15M5 14h22M5 20h22" />
    </svg>
  );
}
