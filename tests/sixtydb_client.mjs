// A client of 60db, from its contract alone, with nothing but Node: sixtydb_client.mjs URL KEY WAV LANGUAGE ENCODING ORDER
//
// It uploads the recording, then streams it, and prints what it understood of both as JSON. With the ENCODING `mulaw` it
// is a telephone, with binary frames of 60 ms; with `linear` a page in a browser, with base64 in JSON. ORDER is what it
// waits for before it sends audio: `session_started`, `connected`, or `nothing`.
import { readFile } from 'node:fs/promises'

const [url, key, path, language, encoding, order] = process.argv.slice(2)
const FRAME_S = 0.06

async function upload(recording) {
  const form = new FormData()
  form.append('file', new Blob([recording], { type: 'audio/wav' }), 'recording.wav')
  form.append('language', language)
  form.append('return_timestamps', 'word')
  form.append('include_confidence', 'true')
  const answer = await fetch(`${url}/stt`, { method: 'POST', headers: { Authorization: `Bearer ${key}` }, body: form })
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`)
  return answer.json()
}

function muLaw(sample) {
  const sign = sample < 0 ? 0x80 : 0
  const magnitude = Math.min(Math.abs(sample), 32635) + 132
  const exponent = Math.floor(Math.log2(magnitude)) - 7
  return ~(sign | (exponent << 4) | ((magnitude >> (exponent + 3)) & 15)) & 0xff
}

/** The rate of a WAV, and its audio as the messages to send. */
function messages(recording) {
  const rate = recording.readUInt32LE(24)
  const pcm = recording.subarray(recording.indexOf('data') + 8)
  const size = 2 * Math.floor(rate * FRAME_S)
  const found = []
  for (let start = 0; start < pcm.length; start += size) {
    const frame = pcm.subarray(start, start + size)
    if (encoding === 'mulaw') {
      found.push(Uint8Array.from({ length: frame.length / 2 }, (_, n) => muLaw(frame.readInt16LE(2 * n))))
    } else {
      found.push(JSON.stringify({ type: 'audio', audio: frame.toString('base64'), encoding, sample_rate: rate }))
    }
  }
  return [rate, found]
}

function stream(recording) {
  const [rate, audio] = messages(recording)
  const heard = []
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws/stt?apiKey=${encodeURIComponent(key)}`)
  const start = () =>
    socket.send(
      JSON.stringify({
        type: 'start',
        languages: [language],
        config: { encoding, sample_rate: rate, continuous_mode: true, interim_results_frequency: 300 },
      }),
    )
  const speak = async () => {
    for (const message of audio) {
      socket.send(message)
      await new Promise((done) => setTimeout(done, (FRAME_S / 3) * 1000))
    }
    socket.send(JSON.stringify({ type: 'stop' }))
  }
  return new Promise((resolve, reject) => {
    socket.onerror = (event) => reject(new Error(event.message ?? 'the socket failed'))
    socket.onopen = () => {
      if (order !== 'nothing') return
      start()
      speak()
    }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      heard.push(message)
      if (message.type === 'error') reject(new Error(message.message ?? message.error))
      if (message.connection_established && order !== 'nothing') start()
      if (message.type === order) speak()
    }
    socket.onclose = ({ code }) => {
      const final = heard.filter((message) => message.type === 'transcription' && message.is_final)
      resolve({
        text: final.filter((message) => message.speech_final).map((message) => message.text).join(' '),
        language: final.at(-1)?.language ?? null,
        types: heard.map((message) => message.type),
        bill: heard.at(-1)?.billing_summary,
        close_code: code,
      })
    }
  })
}

const recording = await readFile(path)
const uploaded = await upload(recording)
const streamed = await stream(recording)
console.log(JSON.stringify({ upload: uploaded, stream: streamed }))
