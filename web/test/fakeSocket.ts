/**
 * A WebSocket that opens, speaks and closes only when the test says so, and keeps what the page sent.
 */
import { act } from "@testing-library/react";
import { vi } from "vitest";

export class FakeSocket {
  static all: FakeSocket[] = [];

  /** Puts the fake in the place of the browser's WebSocket until the test ends. */
  static install(): void {
    FakeSocket.all = [];
    vi.stubGlobal("WebSocket", FakeSocket);
  }

  static get last(): FakeSocket {
    const socket = FakeSocket.all.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }

  readonly url: string;
  readonly sent: unknown[] = [];
  closedByPage = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;

  constructor(url: string) {
    this.url = url;
    FakeSocket.all.push(this);
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(): void {
    this.closedByPage = true;
  }

  opens(): void {
    act(() => this.onopen?.());
  }

  /** The server sends these frames, one after another. */
  says(...frames: unknown[]): void {
    act(() => {
      for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    });
  }

  /** The socket goes away without the page having closed it. */
  breaks(code = 1006): void {
    act(() => this.onclose?.({ code }));
  }
}
