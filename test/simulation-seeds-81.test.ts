import { testSeeds } from './simulation-seeds.ts'

testSeeds(81, 160)
