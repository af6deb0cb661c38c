/** Short messages over the page. Each goes by itself after a while, but not while the person is at it. */
import type { StoreApi } from "zustand";
import { randomId } from "./outbox";
import type { Notice, PageState } from "./state";

const SHOWN_MS = 8000;

/** How long a notice is shown, and what ends it. */
interface NoticeTime {
  forMs: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class NoticeBoard {
  readonly #store: StoreApi<PageState>;
  readonly #times = new Map<string, NoticeTime>();

  constructor(store: StoreApi<PageState>) {
    this.#store = store;
  }

  /** Shows a message for so long. Returns its id. The same words, said again, take the place of the first ones. */
  readonly show = (text: string, action?: Notice["action"], forMs = SHOWN_MS): string => {
    const notice: Notice = { id: randomId(), text, ...(action && { action }) };
    this.#store.setState(({ notices }) => ({
      notices: [...notices.filter((other) => action || other.action || other.text !== text), notice],
    }));
    this.#times.set(notice.id, { forMs, timer: undefined });
    this.release(notice.id);
    return notice.id;
  };

  readonly dismiss = (id: string): void => {
    this.hold(id);
    this.#times.delete(id);
    this.#store.setState(({ notices }) => ({ notices: notices.filter((notice) => notice.id !== id) }));
  };

  /** The person is at it: it stays until `release`. */
  readonly hold = (id: string): void => clearTimeout(this.#times.get(id)?.timer);

  /** From now on it is shown for its time. */
  readonly release = (id: string): void => {
    const time = this.#times.get(id);
    if (!time) return;
    clearTimeout(time.timer);
    time.timer = setTimeout(() => this.dismiss(id), time.forMs);
  };
}
