import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

export const { api, piece, seal, include, deal, conclude, translate, sweep, check } = lambdaFunctions(
  await createContext(process.env),
)
