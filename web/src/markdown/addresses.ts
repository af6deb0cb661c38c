/**
 * Which addresses in an answer may be followed, and what is said of them. Models write whatever they were told to:
 * only http, https and mailto are followed, and the host that is shown is the one the browser would visit.
 */

export interface Address {
  href: string;
  /** The host, in ASCII: letters that only look Latin are told apart. For mail, the address. */
  host: string;
}

const DATA_IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
/** Characters that turn the order of the text around them. */
const BIDI_CONTROL = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
/** Characters that show nothing, and so must not hide that a text is a host. */
const INVISIBLE = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
/** Punctuation and space, up to the bracket of an IPv6 address. */
const BEFORE_HOST = /^(?:(?!\[[\da-f]*:)[^\p{L}\p{N}])+/iu;
/** A name, an IPv4 or an IPv6 address, with or without what an address has around its host. */
const NAMED_HOST =
  /^(?:https?:\/\/)?((?:[\p{L}\p{N}_-]+\.)+\p{L}{2,}|\d{1,3}(?:\.\d{1,3}){3}|\[[\da-f]*:[\da-f:.]+\])(?::\d+)?(?:[/?#]\S*\s*|[^\p{L}\p{N}]*)$/iu;

export function safeAddress(href: string): Address | undefined {
  if (!/^(?:https?:|mailto:)/i.test(href)) return undefined;
  const url = parsed(href);
  switch (url?.protocol) {
    case "http:":
    case "https:":
      return url.host === "" ? undefined : { href: url.href, host: url.host };
    case "mailto:":
      return url.pathname === "" ? undefined : { href: url.href, host: url.pathname };
    default:
      return undefined;
  }
}

/** A picture that is inside the text itself, so that showing it asks nobody. */
export function dataImage(src: string): string | undefined {
  return DATA_IMAGE.test(src) ? src : undefined;
}

/** Whether a link's text names a host that is not the one it leads to. */
export function namesOtherHost(text: string, { href, host }: Address): boolean {
  if (href.startsWith("mailto:")) return false;
  const named = NAMED_HOST.exec(text.replace(INVISIBLE, "").replace(BEFORE_HOST, ""))?.[1];
  if (named === undefined) return false;
  const bare = (name: string) => name.replace(/^www\./, "").replace(/:\d+$/, "");
  return bare(parsed(`https://${named}`)?.host ?? named) !== bare(host);
}

export const withoutBidiControls = (text: string): string => text.replaceAll(BIDI_CONTROL, "");

function parsed(href: string): URL | undefined {
  try {
    return new URL(href);
  } catch {
    return undefined;
  }
}
