/**
 * Returns the name of a component in SST.
 *
 * @example componentName('deal-tracker', 'update') // 'DealTrackerUpdate'
 */
export const componentName = (...words: string[]): string =>
  words
    .flatMap(word => word.split('-'))
    .map(word => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')
