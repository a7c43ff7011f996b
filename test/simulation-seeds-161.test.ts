import { testSeeds } from './simulation-seeds.ts'

testSeeds(161, 240)
