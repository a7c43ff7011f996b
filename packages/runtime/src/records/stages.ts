/**
 * Returns the rules of a workflow: the stages that a record may enter, and the stages that end it.
 *
 * A stored record may have a stage of a later version of the code. This code leaves such a record as it is: no stage may
 * follow, and the stage is not final.
 *
 * @param next the stages that may follow each stage; a final stage has none. The type is total on purpose: a new stage does
 * not compile until its place in the workflow is stated here.
 * @example stageRules<'offered' | 'accepted'>({ offered: ['accepted'], accepted: [] })
 */
export const stageRules = <S extends string>(next: Record<S, readonly S[]>) => {
  const after = new Map(Object.entries<readonly S[]>(next))
  return {
    /** Whether a record may enter the stage. */
    canBecome: (record: { stage: S }, stage: S): boolean => after.get(record.stage)?.includes(stage) === true,
    /** Whether a record is at a final stage. */
    isFinal: ({ stage }: { stage: S }): boolean => after.get(stage)?.length === 0,
  }
}
