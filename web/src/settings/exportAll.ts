/** All of a person's conversations, each as its own export. */
import type { ChatRest, Exported } from "../client";

const PAGE = 100;

/** Tells how many are done. One that is deleted meanwhile is left out. */
export async function exportAll(
  rest: Pick<ChatRest, "list" | "export">,
  onProgress: (done: number) => void,
): Promise<Exported[]> {
  const documents: Exported[] = [];
  let before: string | undefined;
  do {
    const { conversations, next } = await rest.list({
      limit: PAGE,
      ...(before !== undefined && { before }),
    });
    for (const { id } of conversations) {
      const document = await rest.export(id).catch(unlessDeleted);
      if (document) documents.push(document);
      onProgress(documents.length);
    }
    before = next;
  } while (before !== undefined);
  return documents;
}

function unlessDeleted(reason: { code?: string }): undefined {
  if (reason.code !== "not_found") throw reason;
}
