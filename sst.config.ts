/// <reference path="./.sst/platform/config.d.ts" />

/**
 * What a deploy makes of this repository. SST refuses top-level imports here, so the stacks are loaded in `run`.
 * The version of the AWS provider is the one that this version of SST pins: change both together.
 */
export default $config({
  app(input) {
    const production = input.stage === 'production'
    return {
      name: 'w3filecoin',
      home: 'aws',
      removal: production ? 'retain' : 'remove',
      protect: production,
      providers: { aws: { version: '7.20.0' } },
    }
  },
  async run() {
    const { deploy } = await import('./stacks/index.ts')
    return deploy()
  },
})
