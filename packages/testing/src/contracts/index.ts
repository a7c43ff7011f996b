export * from './blocks.ts'
export * from './queue.ts'
export * from './table.ts'
