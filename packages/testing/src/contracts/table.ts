import type { Key, Table } from '@w3filecoin/runtime'
import { beforeAll, describe, expect, it } from 'vitest'

/** A row of the table `sample` that {@link tableContract} runs on. */
export interface Sample {
  id: string
  word?: string
  text?: string
  count?: number
  bytes?: Uint8Array
  nested?: { list: (string | number)[]; absent?: string | undefined }
  due?: string | undefined
  checkAt?: number | undefined
}

/** A row of the table `rangeSample`, which has a range key. */
export interface RangeSample {
  group: string
  order: string
  size?: number
}

/** Descriptions of the two tables. */
export const SAMPLE_TABLES = {
  sample: {
    fields: { id: 'string', due: 'string', checkAt: 'number', word: 'string' },
    key: { hash: 'id' },
    indexes: { due: { hash: 'due', range: 'checkAt' }, word: { hash: 'word', range: 'id' } },
  },
  rangeSample: {
    fields: { group: 'string', order: 'string' },
    key: { hash: 'group', range: 'order' },
  },
} as const

interface Tables {
  sample: Table<Sample>
  rangeSample: Table<RangeSample>
}

/** Tests that every implementation of the port `Table` must pass. */
export const tableContract = (make: () => Promise<Tables> | Tables): void => {
  describe('is a table', () => {
    let table: Table<Sample>
    let ranged: Table<RangeSample>
    let count = 0
    /** Returns a new id, because the tests share the tables. */
    const fresh = (prefix = 'id') => `${prefix}-${count++}`
    const many = (n: number) => Array.from({ length: n }, () => fresh('many'))
    const keys = (ids: readonly string[]): Key[] => ids.map(id => ({ id }))

    beforeAll(async () => {
      const made = await make()
      table = made.sample
      ranged = made.rangeSample
    })

    it('returns undefined for a record that was never written', async () => {
      expect(await table.get({ id: fresh() })).toBeUndefined()
    })

    it('returns the inserted record, without undefined attributes', async () => {
      const id = fresh()
      const record: Sample = {
        id,
        text: '',
        count: 2 ** 40 + 0.5,
        bytes: new Uint8Array([0, 255, 7]),
        nested: { list: ['a', 1], absent: undefined },
        due: undefined,
      }
      const inserted = await table.insert(record)
      expect(inserted.ok).toMatchObject({ id, revision: 1 })
      const found = await table.get({ id })
      expect(found).toEqual({ ...record, revision: 1 })
      expect(Object.keys(found!)).not.toContain('due')
      expect(found?.bytes).toBeInstanceOf(Uint8Array)
    })

    it('lets one of concurrent inserts succeed, and returns the existing record to the others', async () => {
      const id = fresh()
      const results = await Promise.all(Array.from({ length: 20 }, (_, n) => table.insert({ id, count: n })))
      const [winner, ...more] = results.filter(({ ok }) => ok)
      expect(more).toEqual([])
      const losers = results.flatMap(({ error }) => (error ? [error] : []))
      expect(losers).toHaveLength(19)
      for (const { name, record } of losers) {
        expect(name).toBe('RecordExists')
        expect(record).toEqual(winner?.ok)
      }
      expect(await table.get({ id })).toEqual(winner?.ok)
    })

    it('replaces only the revision that was read', async () => {
      const id = fresh()
      const first = (await table.insert({ id, count: 0, word: fresh('w') })).ok!
      const { word, ...without } = first
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, n) => table.replace({ ...without, count: n })),
      )
      const [second, ...more] = results.flatMap(({ ok }) => (ok ? [ok] : []))
      expect(more).toEqual([])
      expect(second?.revision).toBe(2)
      expect(results.filter(({ error }) => error?.name === 'RevisionConflict')).toHaveLength(9)
      expect(await table.get({ id }), 'the whole record is replaced').toEqual({ ...second, id })
      expect((await table.replace({ ...second!, count: 99 })).ok?.revision).toBe(3)
    })

    it('does not replace a missing record', async () => {
      const id = fresh()
      expect((await table.replace({ id, revision: 1 })).error?.name).toBe('RevisionConflict')
      expect(await table.get({ id })).toBeUndefined()
    })

    it('gets more records than fit into one call, in the order of the keys, with duplicates', async () => {
      const ids = many(230)
      await table.putMany(ids.map((id, n) => ({ id, count: n })))
      const missing = fresh()
      const asked = [ids[229]!, ids[0]!, missing, ids[229]!, ...ids]
      const found = await table.getMany(keys(asked))
      expect(found.map(record => record?.id)).toEqual(asked.map(id => (id === missing ? undefined : id)))
      expect(found[0]).toMatchObject({ count: 229, revision: 1 })
      expect(await table.getMany([])).toEqual([])
    })

    it('overwrites many records, and removes many', async () => {
      const ids = many(60)
      await table.putMany(ids.map(id => ({ id, count: 1 })))
      await table.putMany(ids.map(id => ({ id, count: 2 })))
      expect((await table.getMany(keys(ids))).every(record => record?.count === 2)).toBe(true)
      await table.removeMany(keys([...ids.slice(1), fresh('absent')]))
      expect((await table.getMany(keys(ids))).filter(record => record)).toHaveLength(1)
      await table.putMany([])
      await table.removeMany([])
    })

    it('loses no addition to a counter, and sets initial attributes only once', async () => {
      const id = fresh()
      await Promise.all(
        Array.from({ length: 25 }, (_, n) =>
          table.add({ id }, { count: 2 }, { word: `${n}`, due: undefined }),
        ),
      )
      const { word } = (await table.get({ id }))!
      const added = await table.add({ id }, { count: -1, checkAt: 5 }, { word: 'late' })
      expect(added).toMatchObject({ id, count: 49, checkAt: 5, word })
      expect(await table.add({ id }, { count: 1 })).toMatchObject({ count: 50 })
      const together = await Promise.all(
        [1, 2, 4].map(count => table.add({ id }, { count }, { word: 'late' })),
      )
      const sums = (together as { count: number }[]).map(({ count }) => count)
      // Each returns the record after its own addition, in some order.
      expect(sums.toSorted((one, other) => one - other).at(-1)).toBe(57)
      expect(new Set(sums).size).toBe(3)
    })

    it('lists a partition in the order of its range key, page by page', async () => {
      const group = fresh('group')
      const orders = Array.from({ length: 57 }, (_, n) => `${(n * 37) % 57}`.padStart(3, '0'))
      await ranged.putMany(orders.map((order, size) => ({ group, order, size })))
      await ranged.putMany([{ group: fresh('group'), order: '000' }])
      const listed: string[] = []
      const pages: number[] = []
      let after: string | undefined
      do {
        const page = await ranged.list(group, { limit: 10, after })
        listed.push(...page.items.map(({ order }) => order))
        pages.push(page.items.length)
        after = page.next
      } while (after !== undefined)
      expect(listed).toEqual(orders.toSorted())
      expect(pages.slice(0, 6)).toEqual([10, 10, 10, 10, 10, 7])
      const { items } = await ranged.list(group, { limit: 2, after: '0105' })
      expect(items, 'after a range key that no row has').toMatchObject([{ order: '011' }, { order: '012' }])
      await ranged.removeMany([{ group, order: '000' }])
      expect((await ranged.list(group, { limit: 1 })).items).toMatchObject([{ order: '001' }])
      expect(await ranged.list(fresh('empty'), { limit: 1 })).toEqual({ items: [] })
    })

    it('finds keys by an index, in its order, between bounds, page by page', async () => {
      const due = fresh('due')
      const ids = many(12)
      await table.putMany(ids.map((id, n) => ({ id, due, checkAt: 1000 - n })))
      await table.putMany([{ id: fresh() }, { id: fresh(), due: fresh('due'), checkAt: 1 }])
      const found: Key[] = []
      let after: string | undefined
      do {
        const page = await table.find('due', due, { limit: 5, upTo: 995, after })
        found.push(...page.items)
        after = page.next
      } while (after !== undefined)
      // The bound 995 is inclusive.
      expect(found).toEqual(keys(ids.slice(5).toReversed()))
      expect((await table.find('due', due, { limit: 100 })).items).toHaveLength(12)
      // The bound 998 is inclusive too.
      expect((await table.find('due', due, { limit: 100, from: 998 })).items).toEqual(
        keys(ids.slice(0, 3).toReversed()),
      )
      expect((await table.find('due', due, { limit: 1, from: 996, upTo: 997 })).items).toEqual(
        keys([ids[4]!]),
      )
    })

    it('finds keys by an index with text, between bounds that no record needs to have', async () => {
      const word = fresh('word')
      const ids = ['1', '2', '10'].map(end => fresh(`between-${word}-`) + end).toSorted()
      await table.putMany(ids.map(id => ({ id, word })))
      const find = (bounds: object) => table.find('word', word, { limit: 10, ...bounds })
      expect(await find({ from: ids[1] })).toEqual({ items: keys(ids.slice(1)) })
      expect(await find({ from: `${ids[1]} ` })).toEqual({ items: keys(ids.slice(2)) })
      expect(await find({ upTo: ids[1] })).toEqual({ items: keys(ids.slice(0, 2)) })
      expect(await find({ from: 'z' })).toEqual({ items: [] })
    })

    it('removes a record without the attribute from an index', async () => {
      const word = fresh('word')
      const record = (await table.insert({ id: fresh(), word })).ok!
      expect((await table.find('word', word, { limit: 10 })).items).toEqual([{ id: record.id }])
      await table.replace({ ...record, word: undefined } as never)
      expect((await table.find('word', word, { limit: 10 })).items).toEqual([])
    })

    it('throws for an unknown index', async () => {
      await expect(table.find('absent', 'x', { limit: 1 })).rejects.toThrow(TypeError)
    })
  })
}
