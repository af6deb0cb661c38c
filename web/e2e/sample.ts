/** A conversation with everything that an answer can hold, to be looked at. */
import type { Turn } from "./documents";

const ENGLISH = `## A lighthouse, in short

A **lighthouse** shines so that ships find their way. It has *three* parts, and you can read more at
[the harbour's page](https://example.com/lighthouse). Inline \`code\` and ~~errors~~ are shown, too.

1. the lamp
2. the lens
   - glass
   - brass
3. the tower

- [x] lit
- [ ] painted

| Part | Weight | Made of |
|---|--:|:-:|
| Lamp | 12 kg | iron |
| Lens | 1,480 kg | glass |

> He who keeps the light keeps the sea.

\`\`\`python
def range_of(height: float) -> float:
    """How far a light is seen, in sea miles."""
    return 2.08 * (height ** 0.5 + 4 ** 0.5)  # a long comment that makes the line wider than the column it is in
\`\`\`

Its range is $$d = 2.08\\left(\\sqrt{h} + \\sqrt{e}\\right)$$ where \\(h\\) is its height.

---

![A picture of it](https://example.com/lighthouse.png)
`;

const CHINESE = `**灯塔**的作用是为船只指引方向。它由三部分组成：

1. **灯**：夜里发光
2. **透镜**：把光聚成一束
3. **塔身**

| 部分 | 重量 |
|---|--:|
| 灯 | 12 千克 |
| 透镜 | 1480 千克 |

更多内容见 https://example.com/灯塔。`;

const ARABIC = "**المنارة** برج يُضيء للسفن ليلًا.\n\n1. المصباح\n2. العدسة\n3. البرج\n";

export const LONG_WORD =
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft".repeat(4);

export const SAMPLE: readonly Turn[] = [
  ["What is a lighthouse? Show me everything you can write.", ENGLISH],
  ["灯塔是什么？请用中文回答。", CHINESE],
  ["ما هي المنارة؟", ARABIC],
  [`What does ${LONG_WORD} mean?`, `It is \`${LONG_WORD}\`, and ${LONG_WORD}.`],
];
