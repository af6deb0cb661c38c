/**
 * Colours code with highlight.js. The core and each language are loaded when code in that language first appears. The
 * result is a list of tokens, never HTML.
 */
import type { Emitter, HLJSApi, LanguageFn } from "highlight.js";

/** What a token is, as far as colours go. */
export type TokenKind =
  | "keyword"
  | "string"
  | "comment"
  | "number"
  | "title"
  | "type"
  | "attribute"
  | "meta"
  | "addition"
  | "deletion";

export interface CodeToken {
  kind: TokenKind | undefined;
  text: string;
}

export type Highlighter = (code: string) => CodeToken[];

type Loader = () => Promise<{ default: LanguageFn }>;

const LOADERS: Readonly<Record<string, Loader>> = {
  bash: () => import("highlight.js/lib/languages/bash"),
  cpp: () => import("highlight.js/lib/languages/cpp"),
  css: () => import("highlight.js/lib/languages/css"),
  diff: () => import("highlight.js/lib/languages/diff"),
  go: () => import("highlight.js/lib/languages/go"),
  java: () => import("highlight.js/lib/languages/java"),
  javascript: () => import("highlight.js/lib/languages/javascript"),
  json: () => import("highlight.js/lib/languages/json"),
  python: () => import("highlight.js/lib/languages/python"),
  rust: () => import("highlight.js/lib/languages/rust"),
  sql: () => import("highlight.js/lib/languages/sql"),
  typescript: () => import("highlight.js/lib/languages/typescript"),
  xml: () => import("highlight.js/lib/languages/xml"),
  yaml: () => import("highlight.js/lib/languages/yaml"),
};

const ALIASES: Readonly<Record<string, string>> = {
  c: "cpp",
  "c++": "cpp",
  cc: "cpp",
  console: "bash",
  golang: "go",
  h: "cpp",
  hpp: "cpp",
  html: "xml",
  js: "javascript",
  jsonc: "json",
  jsx: "javascript",
  mjs: "javascript",
  patch: "diff",
  py: "python",
  python3: "python",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svg: "xml",
  ts: "typescript",
  tsx: "typescript",
  vue: "xml",
  yml: "yaml",
  zsh: "bash",
};

const KINDS: Readonly<Record<string, TokenKind>> = {
  addition: "addition",
  attr: "attribute",
  attribute: "attribute",
  built_in: "type",
  class: "type",
  code: "string",
  comment: "comment",
  deletion: "deletion",
  doctag: "comment",
  keyword: "keyword",
  link: "string",
  literal: "number",
  meta: "meta",
  name: "keyword",
  number: "number",
  property: "attribute",
  quote: "comment",
  regexp: "string",
  section: "title",
  "selector-attr": "attribute",
  "selector-class": "title",
  "selector-id": "title",
  "selector-pseudo": "attribute",
  "selector-tag": "keyword",
  string: "string",
  symbol: "number",
  tag: "keyword",
  "template-variable": "attribute",
  title: "title",
  type: "type",
  variable: "attribute",
};

const highlighters = new Map<string, Promise<Highlighter>>();

/** The highlighter for the language of a fence; `undefined` when there is none. */
export function highlighterFor(language: string): Promise<Highlighter> | undefined {
  const name = language.toLowerCase();
  const known = ALIASES[name] ?? name;
  const load = Object.hasOwn(LOADERS, known) ? LOADERS[known] : undefined;
  if (!load) return undefined;
  const found = highlighters.get(known) ?? prepare(known, load);
  highlighters.set(known, found);
  return found;
}

async function prepare(language: string, load: Loader): Promise<Highlighter> {
  const [api, { default: grammar }] = await Promise.all([core(), load()]);
  api.registerLanguage(language, grammar);
  // Compiles the grammar now, not together with the first code.
  api.highlight(" ", { language });
  return (code) => {
    const result = api.highlight(code, { language, ignoreIllegals: true });
    return (result._emitter as unknown as TokenEmitter).tokens;
  };
}

let loading: Promise<HLJSApi> | undefined;

function core(): Promise<HLJSApi> {
  loading ??= import("highlight.js/lib/core").then(({ default: shared }) => {
    const api = shared.newInstance();
    // highlight.js makes its emitter from these options. Its own one writes HTML.
    api.configure({ __emitter: TokenEmitter } as Parameters<HLJSApi["configure"]>[0]);
    return api;
  });
  return loading;
}

/** Collects flat tokens: the innermost scope that has a colour counts. */
class TokenEmitter implements Emitter {
  readonly tokens: CodeToken[] = [];
  readonly #scopes: (TokenKind | undefined)[] = [];

  addText(text: string): void {
    if (text === "") return;
    const kind = this.#scopes.at(-1);
    const last = this.tokens.at(-1);
    if (last && last.kind === kind) last.text += text;
    else this.tokens.push({ kind, text });
  }

  startScope(scope: string): void {
    const outer = this.#scopes.at(-1);
    this.#scopes.push(KINDS[scope.split(".")[0] ?? ""] ?? outer);
  }

  endScope(): void {
    this.#scopes.pop();
  }

  openNode(scope: string): void {
    this.startScope(scope);
  }

  closeNode(): void {
    this.endScope();
  }

  __addSublanguage(emitter: TokenEmitter): void {
    for (const token of emitter.tokens) this.tokens.push(token);
  }

  finalize(): void {}

  toHTML(): string {
    return "";
  }
}
