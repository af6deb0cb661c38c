/** Links and images in an answer. Nothing here is loaded; a click opens a new tab that knows nothing of this page. */
import { ImageIcon } from "lucide-react";
import type { ReactNode } from "react";
import { useWords } from "../app/words";
import { dataImage, namesOtherHost, safeAddress, withoutBidiControls } from "./addresses";
import { words } from "./words";

const REL = "noopener noreferrer nofollow";

interface LinkProps {
  href: string;
  /** What the link says, without marks. */
  text: string;
  children: ReactNode;
}

export function Link({ href, text, children }: LinkProps) {
  const address = safeAddress(href);
  if (!address) return <bdi>{children}</bdi>;
  return (
    <>
      <a href={address.href} target="_blank" rel={REL} title={address.host} dir="auto">
        {children}
      </a>
      {namesOtherHost(text, address) && <span className="real-host">{address.host}</span>}
    </>
  );
}

interface ImageProps {
  src: string;
  alt: string;
}

export function Image({ src, alt }: ImageProps) {
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
