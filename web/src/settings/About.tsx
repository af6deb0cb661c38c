/** What answers, what it can do, and whose work the page is. */
import { version } from "../../package.json";
import { usePageState } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import { formatCompact, formatCount } from "../composer/units";
import { isTiny, parametersOf } from "../thread/model";
import { words } from "./words";

const LICENCE = "https://www.apache.org/licenses/LICENSE-2.0";

export function About() {
  const text = useWords(words);
  const language = useLanguage();
  const model = usePageState(({ chat }) => chat.welcome?.model);
  const isConnected = usePageState(({ chat }) => chat.link.name === "open");
  const parameters = model && parametersOf(model);
  const yesOrNo = (is: boolean) => (is ? text.yes : text.no);
  const rows: [name: string, value: string][] = [
    [text.server, isConnected ? text.connected : text.notConnected],
    ...(model
      ? ([
          [text.model, model.name],
          ...(parameters === undefined
            ? []
            : [[text.parameters, text.parameterCount(formatCompact(parameters, language))]]),
          [text.modelState, text.modelStates[model.state]],
          ...(model.context === undefined
            ? []
            : [[text.context, text.tokens(formatCount(model.context, language))]]),
          [text.images, yesOrNo(model.images)],
          [text.tools, yesOrNo(model.tools)],
        ] as [string, string][])
      : []),
    [text.version, version],
  ];
  return (
    <>
      {model && isTiny(model) && (
        <p className="settings-intro">
          {text.tiny} <code>{text.tinyDoc}</code>
        </p>
      )}
      <dl className="about">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd dir="auto">{value}</dd>
          </div>
        ))}
        <div>
          <dt>{text.licence}</dt>
          <dd>
            <a href={LICENCE} target="_blank" rel="noreferrer">
              Apache-2.0
            </a>
          </dd>
        </div>
      </dl>
      <p className="settings-intro">{text.aboutNote}</p>
    </>
  );
}
