// A page with nothing but `useChat`: what it holds is on screen, for ui_hook_client.mjs to read. It is bundled with each
// major of `@ai-sdk/react`; `hook` and `ai` are that major's own. The chat's name is the address's `id`.

import { createElement as h, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { useChat } from 'hook'
import { DefaultChatTransport } from 'ai'

const id = new URLSearchParams(location.search).get('id')
const api = '/api/v1/chat'
const transport = new DefaultChatTransport({ api, body: { options: { max_tokens: 200, temperature: 0 } } })

/** What the page begins with. A chat that nobody has asked anything yet is unknown. */
async function history() {
  const response = await fetch(`${api}/${id}`)
  return response.ok ? (await response.json()).messages : []
}

const textOf = ({ parts }) => parts.filter(({ type }) => type === 'text').map(({ text }) => text).join('')

/** How an answer has ended, as the hook says. */
const describe = ({ isAbort, isDisconnect, isError, finishReason }) =>
  Object.entries({ isAbort, isDisconnect, isError, [`finish ${finishReason}`]: finishReason !== undefined })
    .filter(([, holds]) => holds)
    .map(([name]) => name)
    .join(', ')

function Page({ messages: initial }) {
  const [ends, setEnds] = useState([])
  const { messages, status, error, sendMessage, stop, resumeStream } = useChat({
    id,
    messages: initial,
    resume: true,
    transport,
    // Version 5 also calls it when there was nothing to resume.
    onFinish: (end) => end.message.parts.length > 0 && setEnds((ends) => [...ends, describe(end) || 'no reason']),
  })
  const send = (event) => {
    event.preventDefault()
    sendMessage({ text: new FormData(event.target).get('text') })
  }
  const stopEverywhere = async () => {
    await fetch(`${api}/${id}/stop`, { method: 'POST' })
    stop()
  }
  return h('main', null,
    ...messages.map((message) => h('article', { key: message.id, 'data-role': message.role }, textOf(message))),
    h('output', null, status),
    error && h('p', { role: 'alert' }, error.message),
    h('ol', null, ...ends.map((end, at) => h('li', { key: at }, end))),
    h('form', { onSubmit: send }, h('textarea', { name: 'text' }), h('button', null, 'Send')),
    h('button', { onClick: stopEverywhere }, 'Stop'),
    h('button', { onClick: () => resumeStream() }, 'Resume'))
}

createRoot(document.body.appendChild(document.createElement('div'))).render(h(Page, { messages: await history() }))
