import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

export const { api, track, report, retry, order, fill, conclude, translate, sweep, check } = lambdaFunctions(
  await createContext(process.env),
)
