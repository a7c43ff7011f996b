import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

export const { api, piece, seal, include, deal, conclude, translate, sweep } = lambdaFunctions(
  await createContext(process.env),
)
