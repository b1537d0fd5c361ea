/**
 * How long to wait before connecting again: exponential backoff with full jitter, so that clients that lost their
 * connections at the same moment do not come back at the same moment.
 * See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
 *
 * @module backoff
 */

/** The first wait is shorter than this, in milliseconds. */
export const BASE_MS = 1_000;

/** No wait is longer than this, in milliseconds. */
export const CAP_MS = 30_000;

/**
 * Returns a wait between 0 and a bound that doubles with each attempt.
 * @param {number} attempt how many attempts have failed in a row
 * @param {() => number} random from 0 to 1
 * @returns {number} milliseconds
 */
export const delay = (attempt, random) => random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 30));
