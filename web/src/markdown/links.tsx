/** Links and images in an answer. Nothing here is loaded; a click opens a new tab that knows nothing of this page. */
import type { Element, ElementContent } from "hast";
import { ImageIcon } from "lucide-react";
import type { ReactNode } from "react";
import { useWords } from "../app/words";
import { dataImage, namesOtherHost, safeAddress, withoutBidiControls } from "./addresses";
import { words } from "./words";

const REL = "noopener noreferrer nofollow";

interface LinkProps {
  node?: Element | undefined;
  href?: string | undefined;
  children?: ReactNode;
}

export function Link({ node, href, children }: LinkProps) {
  const address = safeAddress(href);
  if (!address) return <bdi>{children}</bdi>;
  const differs = node !== undefined && namesOtherHost(textOf(node), address);
  return (
    <>
      <a href={address.href} target="_blank" rel={REL} title={address.host} dir="auto">
        {children}
      </a>
      {differs && <span className="real-host">{address.host}</span>}
    </>
  );
}

interface ImageProps {
  src?: unknown;
  alt?: string | undefined;
}

export function Image({ src, alt = "" }: ImageProps) {
  const text = useWords(words);
  const inside = dataImage(src);
  if (inside) return <img src={inside} alt={alt} decoding="async" />;
  const address = safeAddress(src);
  const label = withoutBidiControls(alt).trim();
  if (!address || address.href.startsWith("mailto:")) {
    return <span className="image-chip">{label === "" ? text.image : label}</span>;
  }
  return (
    <a
      className="image-chip"
      href={address.href}
      target="_blank"
      rel={REL}
      title={text.openImage(address.host)}
    >
      <ImageIcon aria-hidden="true" />
      {label !== "" && <bdi>{label}</bdi>}
      <span className="image-host">{text.imageFrom(address.host)}</span>
    </a>
  );
}

/** The text in an element, without its marks. */
export function textOf(node: ElementContent): string {
  if (node.type === "text") return node.value;
  return node.type === "element" ? node.children.map(textOf).join("") : "";
}
