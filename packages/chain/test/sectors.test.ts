import { describe, expect, it } from 'vitest'
import { readSectorEvents, readSectorStatus, toEventFilter, toStatusMessage } from '../src/sectors.ts'

const query = { miners: ['f01000'], sector: 77, first: 100, last: 200 }

/** An entry of an event, as nodes return it. */
const entry = (Key: string, Value: string, Codec = 81) => ({ Flags: 3, Key, Codec, Value })
const TYPE = entry('$type', 'cHNlY3Rvci1hY3RpdmF0ZWQ=')
const SECTOR = entry('sector', 'GE0=')
const UNSEALED = entry('unsealed-cid', '9g==')
/** The root whose bytes are 0 to 31, and 32 GiB. */
const CID = entry('piece-cid', '2CpYKAABgeIDkiAgAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=')
const SIZE = entry('piece-size', 'GwAAAAgAAAAA')
const event = (...entries: object[]) => ({
  entries,
  emitter: 'f01000',
  reverted: false,
  height: 150,
  tipsetKey: [],
  msgCid: {},
})

describe('a sector as nodes of Filecoin show it', () => {
  it('is asked for with keys and values in CBOR and base 64', () => {
    const wanted = (value: string) => ({ codec: 81, value })
    const $type = ['cHNlY3Rvci1hY3RpdmF0ZWQ=', 'bnNlY3Rvci11cGRhdGVk', 'cXNlY3Rvci10ZXJtaW5hdGVk']
    expect(toEventFilter(query)).toEqual({
      addresses: ['f01000'],
      fromHeight: 100,
      toHeight: 200,
      fields: { $type: $type.map(wanted), sector: [wanted('GE0=')] },
    })
    const { sector: _, ...all } = query
    expect(toEventFilter(all).fields).toEqual({ $type: $type.map(wanted) })
    expect(toStatusMessage('t01000', 77)).toEqual({
      To: 't01000',
      From: 't00',
      Value: '0',
      Method: 1_321_604_665,
      Params: 'gRhN',
    })
  })

  it('has the pieces of its event', () => {
    const piece = {
      root: 'baga6ea4seaqaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4hy',
      paddedBytes: 2 ** 35,
    }
    expect(
      readSectorEvents(
        [
          event(TYPE, SECTOR, UNSEALED, CID, SIZE, CID, SIZE),
          { ...event(), reverted: true },
          event(TYPE, SECTOR, UNSEALED),
        ],
        query,
      ),
    ).toEqual(
      [[piece, piece], []].map(pieces => ({
        type: 'sector-activated',
        miner: 'f01000',
        sector: 77,
        epoch: 150,
        pieces,
      })),
    )
    expect(readSectorEvents(null, query)).toEqual([])
  })

  it.each([
    ['no list', {}],
    ['nothing', undefined],
    ['an event without entries', [{ ...event(), entries: null }]],
    ['an event of another type', [event(entry('$type', 'bnNlY3Rvci1leHRlbmRlZA=='), SECTOR)]],
    ['an event without a sector', [event(TYPE)]],
    ['a value of another codec', [event(TYPE, { ...SECTOR, Codec: 85 })]],
    ['a sector that is not a number', [event(TYPE, entry('sector', 'YTc='))]],
    ['a value with further bytes', [event(TYPE, entry('sector', 'GE0A'))]],
    ['a value that is not in base 64', [event(TYPE, entry('sector', '%'))]],
    ['a piece without a size', [event(TYPE, SECTOR, CID)]],
    ['another sector', [event(TYPE, entry('sector', 'GE4='))]],
    ['another provider', [{ ...event(TYPE, SECTOR), emitter: 'f01001' }]],
    ['an epoch before the first', [{ ...event(TYPE, SECTOR), height: 99 }]],
    ['an epoch after the last', [{ ...event(TYPE, SECTOR), height: 201 }]],
    ['an event that may be reverted', [{ ...event(TYPE, SECTOR), reverted: undefined }]],
  ])('is not read from an answer with %s', (_, answer) => {
    expect(readSectorEvents(answer, query)).toBeUndefined()
  })

  it('has the status that its actor returns', () => {
    const read = (Return: unknown, ExitCode = 0) => readSectorStatus({ MsgRct: { ExitCode, Return } })
    // The number of the status, and two bytes.
    expect(['ggBCAwA=', 'ggFCAwA=', 'ggJCAwA='].map(text => read(text))).toEqual(['dead', 'active', 'faulty'])
    for (const text of ['ggNCAwA=', 'gQE=', 'AQ==', 'gmZsZW5ndGhA', '', null])
      expect(read(text), `${text}`).toBeUndefined()
    expect(read('ggFCAwA=', 22)).toBeUndefined()
    expect(readSectorStatus(null)).toBeUndefined()
  })
})
