/**
 * An answer as it is shown: its blocks, in sections that are drawn one by one, in groups that are laid out one by one; and
 * the definitions of links and footnotes that any block may use. A section or group that is full never changes.
 */
import { type Block, BlockSplitter } from "./blocks";

export interface Section {
  /** Where the section begins in the text. */
  at: number;
  blocks: readonly Block[];
  size: number;
}

/** Some sections that follow each other. */
export interface Group {
  /** Where the group begins in the text. */
  at: number;
  sections: readonly Section[];
}

/** A section is full from this many characters on. Reading so many takes a few milliseconds. */
const FULL = 512;
/** A group is full with so many sections. The browser looks at each group for each frame, and lays one out as a whole. */
const GROUP = 8;
const DEFINITION = /^ {0,3}\[(\^?[^[\]\\\n]+)\]:[ \t]*(.*)$/gm;
const TARGET = /^(?:<[^<>\n]*>|[^\s<]\S*)(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$/;
const REFERENCE = /\[(\^?[^[\]\\\n]+)\]/g;

/** The text of a footnote's definition that only says that the footnote is defined elsewhere. */
export const DEFINED_ELSEWHERE = "\u{E000}";

export class MarkdownDocument {
  readonly #splitter = new BlockSplitter();
  #text: string | undefined;
  #full: Group[] = [];
  /** The full sections of the group that is not full. */
  #last: Section[] = [];
  #filling: Block[] = [];
  #fillingSize = 0;
  #taken = 0;
  /** The definitions in blocks that are over, by their labels, each as one line of Markdown. */
  readonly #definitions = new Map<string, string>();
  /** Those in blocks that may still change. */
  #newDefinitions = new Map<string, string>();
  /** Changes whenever a definition does. */
  #version = "";
  /** What full groups use, with the version in which it was found. */
  readonly #used = new WeakMap<Group, { version: string; definitions: string }>();
  #groups: readonly Group[] = [];

  /** The groups of the text, which may continue the text before. The last one may still change. */
  read(text: string): readonly Group[] {
    if (text === this.#text) return this.#groups;
    if (this.#text !== undefined && !text.startsWith(this.#text)) this.#reset();
    this.#text = text;
    const tail = this.#splitter.update(text);
    const { closed } = this.#splitter;
    while (this.#taken < closed.length) this.#take(closed[this.#taken++] as Block);
    this.#newDefinitions = new Map();
    for (const block of tail) define(block, this.#newDefinitions);
    this.#version = `${this.#definitions.size}${[...this.#newDefinitions.values()].join("\n")}`;
    const blocks = [...this.#filling, ...tail];
    const last = blocks.length === 0 ? this.#last : [...this.#last, section(blocks)];
    this.#groups = last.length === 0 ? this.#full.slice() : [...this.#full, group(last)];
    return this.#groups;
  }

  /** The definitions that the group's blocks use; changes when one comes. */
  definitionsOf(group: Group): string {
    if (!this.#hasDefinitions) return "";
    const known = this.#used.get(group);
    if (known?.version === this.#version) return known.definitions;
    const blocks = group.sections.flatMap(({ blocks }) => blocks);
    const definitions = blocks.map(({ text }) => this.definitionsFor(text)).join("");
    this.#used.set(group, { version: this.#version, definitions });
    return definitions;
  }

  /** The definitions that a block uses and that are in other blocks, as Markdown to put before it. */
  definitionsFor(text: string): string {
    if (!this.#hasDefinitions) return "";
    const found = new Set<string>();
    for (const [, label = ""] of text.matchAll(REFERENCE)) {
      const key = labelKey(label);
      const definition = this.#definitions.get(key) ?? this.#newDefinitions.get(key);
      if (definition !== undefined && !text.includes(`[${label}]:`)) found.add(definition);
    }
    return found.size === 0 ? "" : `${[...found].join("\n\n")}\n\n`;
  }

  get #hasDefinitions(): boolean {
    return this.#definitions.size > 0 || this.#newDefinitions.size > 0;
  }

  #reset(): void {
    this.#full = [];
    this.#last = [];
    this.#filling = [];
    this.#fillingSize = 0;
    this.#taken = 0;
    this.#definitions.clear();
  }

  #take(block: Block): void {
    define(block, this.#definitions);
    const { length } = block.text;
    // A large block has a section of its own.
    if (length >= FULL) this.#fill();
    this.#filling.push(block);
    this.#fillingSize += length;
    if (this.#fillingSize >= FULL) this.#fill();
  }

  #fill(): void {
    if (this.#filling.length === 0) return;
    this.#last.push(section(this.#filling));
    if (this.#last.length === GROUP) {
      this.#full.push(group(this.#last));
      this.#last = [];
    }
    this.#filling = [];
    this.#fillingSize = 0;
  }
}

/** Adds the definitions in the block. The first one of a label counts. */
function define({ kind, text }: Block, to: Map<string, string>): void {
  if (kind === "code" || !text.includes("]:")) return;
  for (const [, label = "", target = ""] of text.matchAll(DEFINITION)) {
    const key = labelKey(label);
    if (to.has(key)) continue;
    if (label.startsWith("^")) to.set(key, `[${label}]: ${DEFINED_ELSEWHERE}`);
    else if (TARGET.test(target)) to.set(key, `[${label}]: ${target}`);
  }
}

function section(blocks: readonly Block[]): Section {
  return {
    at: blocks[0]?.at ?? 0,
    blocks,
    size: blocks.reduce((sum, { text }) => sum + text.length, 0),
  };
}

function group(sections: readonly Section[]): Group {
  return { at: sections[0]?.at ?? 0, sections };
}

/** Labels are the same whatever their case and white space. */
function labelKey(label: string): string {
  return label.trim().replaceAll(/\s+/g, " ").toLowerCase();
}
