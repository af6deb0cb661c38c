/** The conversations of the person who is signed in. */
import { Ellipsis, Search as SearchIcon, SquarePen, Trash2 } from "lucide-react";
import { usePage, usePageState } from "../app/context";
import { useWords } from "../app/words";
import type { Conversation } from "../client";
import { Menu } from "../ui/Menu";
import { words } from "./words";

export function Sidebar() {
  const text = useWords(words);
  const page = usePage();
  const { conversations, state } = usePageState(({ list }) => list);
  return (
    <nav className="sidebar" aria-label={text.conversations}>
      <button type="button" className="sidebar-action" onClick={() => page.open(undefined)}>
        <SquarePen />
        {text.newChat}
      </button>
      <button type="button" className="sidebar-action" onClick={() => page.showPanel("search")}>
        <SearchIcon />
        {text.search}
      </button>
      <ul className="conversations">
        {conversations.map((conversation) => (
          <Row key={conversation.id} conversation={conversation} />
        ))}
      </ul>
      {state === "ready" && conversations.length === 0 && <p className="sidebar-note">{text.nothing}</p>}
      {state === "failed" && <p className="sidebar-note">{text.failed}</p>}
    </nav>
  );
}

function Row({ conversation }: { conversation: Conversation }) {
  const text = useWords(words);
  const page = usePage();
  const isOpen = usePageState(({ open }) => open === conversation.id);
  return (
    <li className="conversation" data-open={isOpen}>
      <a
        href={`#/c/${conversation.id}`}
        aria-current={isOpen ? "page" : undefined}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey) return;
          event.preventDefault();
          page.open(conversation.id);
        }}
      >
        {conversation.title}
      </a>
      <Menu
        label={text.more}
        icon={<Ellipsis />}
        items={[
          {
            label: text.delete,
            icon: <Trash2 />,
            danger: true,
            onSelect: () => page.attempt(page.conversations.remove(conversation)),
          },
        ]}
      />
    </li>
  );
}
