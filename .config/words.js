// @ts-check
/** Words that this project does not use of software, and what it writes instead. One word per thing; the glossary stands in `src/README.md`. */

/** @type {readonly (readonly [pattern: RegExp, instead: string])[]} */
export const WORDS = [
  [/\bow(?:e|es|ed|ing)\b/i, 'announce; "implied by the stored state"'],
  [/\b(?:whoever|whomever|nobody|somebody|anybody)\b/i, 'the caller, the client, another process, no process'],
  [/\bfates?\b/i, 'outcome, exit status'],
  [/\bwish(?:es|ed)?\b/i, 'submission, request'],
  [/\b(?:heard|hears?|hearing)\b/i, 'receive, observe; event'],
  [/\b(?:told|tells?|telling)\b/i, 'report, notify, return'],
  [/\b(?:voice|voices)\b/i, 'publisher'],
  [/\b(?:says?|said|saying)\b/i, 'report, answer, return, mean'],
  [/\bthe seed(?:'s)?\b/i, 'Airflow'],
  [/\bpatien(?:ce|tly|t)\b/i, 'time-out, retry period'],
  [/\blast words?\b/i, 'final events'],
  [
    /@see (?:spec|design|lessons|errata|protocol|nats-notes|kubernetes-notes)\b/i,
    'a public source, or src/wire/README.md',
  ],
];

/** The parts of a camelCase or kebab-case name, as words. */
const partsOf = (name) => name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replace(/[_$-]+/g, ' ');

/** Reports words of the list in comments, texts and names. */
export default {
  meta: { type: 'suggestion', schema: [], messages: { word: '"{{word}}": write {{instead}}' } },
  create(context) {
    const check = (text, node, loc) => {
      for (const [pattern, instead] of WORDS) {
        const word = pattern.exec(text)?.[0];
        if (word !== undefined)
          context.report({ ...(loc ? { loc } : { node }), messageId: 'word', data: { word, instead } });
      }
    };
    return {
      Program() {
        for (const comment of context.sourceCode.getAllComments()) check(comment.value, undefined, comment.loc);
      },
      Identifier: (node) => check(partsOf(node.name), node),
      PrivateIdentifier: (node) => check(partsOf(node.name), node),
      Literal: (node) => typeof node.value === 'string' && check(node.value, node),
      TemplateElement: (node) => check(node.value.cooked ?? '', node),
    };
  },
};
