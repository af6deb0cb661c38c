/**
 * A button that opens a short list of things to do, in the browser's own popover: it closes by Escape and by a click
 * elsewhere, and no ancestor clips it. Arrow keys move between the items.
 */
import { type KeyboardEvent, type ReactNode, useId, useRef } from "react";
import { IconButton } from "./IconButton";

export interface MenuItem {
  label: string;
  icon?: ReactNode;
  onSelect: () => void;
  /** Drawn as a warning. */
  danger?: boolean;
}

interface MenuProps {
  label: string;
  icon: ReactNode;
  items: readonly MenuItem[];
  /** Which edge of the button the list keeps to. */
  align?: "start" | "end";
  className?: string;
}

const GAP_PX = 4;

export function Menu({ label, icon, items, align = "end", className = "" }: MenuProps) {
  const id = useId();
  const button = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);

  const place = () => {
    const anchor = button.current?.getBoundingClientRect();
    const menu = list.current;
    if (!anchor || !menu) return;
    const { width, height } = menu.getBoundingClientRect();
    const below = anchor.bottom + GAP_PX + height <= window.innerHeight;
    menu.style.top = `${Math.max(GAP_PX, below ? anchor.bottom + GAP_PX : anchor.top - GAP_PX - height)}px`;
    const left = align === "end" ? anchor.right - width : anchor.left;
    menu.style.left = `${Math.min(Math.max(GAP_PX, left), window.innerWidth - width - GAP_PX)}px`;
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const root = list.current?.getRootNode() as Document | ShadowRoot;
    const at = all.indexOf(root.activeElement as HTMLElement);
    all[(at + step + all.length) % all.length]?.focus();
  };

  return (
    <div className={`menu ${className}`} ref={button}>
      <IconButton label={label} aria-haspopup="menu" popoverTarget={id}>
        {icon}
      </IconButton>
      <div
        id={id}
        ref={list}
        className="menu-list"
        role="menu"
        aria-label={label}
        popover="auto"
        onToggle={(event) => event.newState === "open" && place()}
        onKeyDown={onKeyDown}
      >
        {items.map(({ label, icon, onSelect, danger }) => (
          <button
            key={label}
            type="button"
            role="menuitem"
            className={danger ? "menu-item danger" : "menu-item"}
            onClick={() => {
              list.current?.hidePopover();
              onSelect();
            }}
          >
            {icon}
            {label}
          </button>
        ))}
      </div>
    </div>
  );
}
