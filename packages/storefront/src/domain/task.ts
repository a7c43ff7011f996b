/**
 * A task that a workflow promised: one row for each `filecoin/submit` and `filecoin/accept`. The row is a pure function of the
 * task, and is written before the record of the workflow.
 *
 * @example { task: 'bafyrei…', id: 'kD3…', promise: <bytes> }
 */
export interface TaskRecord {
  /** CID of the task. */
  task: string
  /** Key of the piece's record. */
  id: string
  /** Number of the attempt that promised the task, from 2. Absent for the first one. */
  attempt?: number | undefined
  /** The task, packed. Absent in rows of earlier code, which kept it in the record of the workflow. */
  promise?: Uint8Array | undefined
}
