import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

export const { api, submit, aggregation, poll, outcome, notify, translate, sweep, check } = lambdaFunctions(
  await createContext(process.env),
)
