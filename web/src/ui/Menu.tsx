/**
 * A button that opens a short list of things to do, in the browser's own popover: it closes by Escape and by a click
 * elsewhere, and no ancestor clips it. Arrow keys, Home and End move between the items, which are drawn only while it
 * is open.
 */
import { type KeyboardEvent, type ReactNode, type ToggleEvent, useId, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { IconButton } from "./IconButton";

export interface MenuItem {
  label: string;
  icon?: ReactNode;
  onSelect: () => void;
  /** Drawn as a warning. */
  danger?: boolean;
  /** Begins a group: a line is drawn above it. */
  begins?: boolean;
}

interface MenuProps {
  label: string;
  icon: ReactNode;
  /** A function is asked each time that the menu opens. */
  items: readonly MenuItem[] | (() => readonly MenuItem[]);
  /** Which edge of the button the list keeps to. */
  align?: "start" | "end";
  className?: string;
}

const GAP_PX = 4;

export function Menu({ label, icon, items, align = "end", className = "" }: MenuProps) {
  const id = useId();
  const button = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [isOpen, setOpen] = useState(false);

  const place = () => {
    const anchor = button.current?.getBoundingClientRect();
    const menu = list.current;
    if (!anchor || !menu) return;
    const { width, height } = menu.getBoundingClientRect();
    const below = anchor.bottom + GAP_PX + height <= window.innerHeight;
    menu.style.top = `${Math.max(GAP_PX, below ? anchor.bottom + GAP_PX : anchor.top - GAP_PX - height)}px`;
    const left = align === "end" ? anchor.right - width : anchor.left;
    menu.style.left = `${Math.min(Math.max(GAP_PX, left), window.innerWidth - width - GAP_PX)}px`;
    menu.dataset.placed = "";
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };
  const onBeforeToggle = ({ newState }: ToggleEvent) => {
    // The popover is measured once it shows, so its items must be there by then.
    if (newState === "open") flushSync(() => setOpen(true));
  };
  const onToggle = ({ newState }: ToggleEvent) => {
    if (newState === "open") {
      place();
      return;
    }
    delete list.current?.dataset.placed;
    setOpen(false);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const root = list.current?.getRootNode() as Document | ShadowRoot;
    const at = all.indexOf(root.activeElement as HTMLElement);
    const goal = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Tab") list.current?.hidePopover();
    if (goal === undefined) return;
    event.preventDefault();
    all[goal % all.length]?.focus();
  };

  return (
    <div className={`menu ${className}`} ref={button}>
      <IconButton label={label} aria-haspopup="menu" aria-expanded={isOpen} popoverTarget={id}>
        {icon}
      </IconButton>
      <div
        id={id}
        ref={list}
        className="menu-list"
        role="menu"
        aria-label={label}
        popover="auto"
        onBeforeToggle={onBeforeToggle}
        onToggle={onToggle}
        onKeyDown={onKeyDown}
      >
        {isOpen &&
          (typeof items === "function" ? items() : items).map((item) => (
            <button
              key={item.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              className={`menu-item ${item.danger ? "danger" : ""}`}
              data-begins={item.begins}
              onClick={() => {
                list.current?.hidePopover();
                item.onSelect();
              }}
            >
              {item.icon}
              {item.label}
            </button>
          ))}
      </div>
    </div>
  );
}
