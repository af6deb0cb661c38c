/** Which model answers, and whether it would answer now. While the page is not connected it does not know. */
import { modelName } from "../thread/model";
import { words } from "./appWords";
import { usePageState } from "./context";
import { useWords } from "./words";

export function ModelLine() {
  const text = useWords(words);
  const model = usePageState(({ chat }) => chat.welcome?.model);
  const isConnected = usePageState(({ chat }) => chat.link.name === "open");
  if (!model) return null;
  const state = isConnected ? model.state : "unknown";
  return (
    <p className="bar-model" data-model={state} title={text.modelNotes[state]}>
      <span className="dot" aria-hidden="true" />
      <span className="bar-model-name">{modelName(model)}</span>
      {state === "ready" && <span className="visually-hidden">{text.modelStates.ready}</span>}
      {(state === "loading" || state === "unavailable") && (
        <span className="bar-model-state">{text.modelStates[state]}</span>
      )}
    </p>
  );
}
