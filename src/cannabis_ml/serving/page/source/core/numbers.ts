// Mirrors what NumPy and Python compute in inference: rounding, interpolation, stable exponentials.

/** Numbers of one axis, float64. */
export type Vector = ArrayLike<number>;

/** `inference.calibrators.SMALLEST`: probabilities are held above it before a logarithm. */
export const SMALLEST = 1e-30;

export function sum(values: Vector): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}

export function largest(values: Vector): number {
  let found = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > found) found = values[i];
  return found;
}

/** Place of the largest, the first of equal ones, as `numpy.argmax`. */
export function argmax(values: Vector): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

export function clip(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** As Python's `round`: halves go to the even neighbor. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const part = value - floor;
  if (part !== 0.5) return part < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

const MOST_DIGITS = 9;

/** The shortest decimal that is the same float32, as `inference.answer.shortest`. */
export function shortest(value: number): number {
  const single = Math.fround(value);
  for (let digits = 1; digits < MOST_DIGITS; digits++) {
    const { whole, exponent } = rounded(single, digits);
    // Above a power of two float32 lie twice as far apart as below: the next may do, too.
    for (const candidate of [whole, whole + 1]) {
      const found = Number(`${candidate}e${exponent}`);
      if (Math.fround(found) === single) return found;
    }
  }
  return Number(single.toPrecision(MOST_DIGITS));
}

/** whole · 10 ** exponent with that many digits; halves go to the even neighbor. */
function rounded(value: number, digits: number): { whole: number; exponent: number } {
  const parts = (count: number) => {
    const [mantissa, exponent] = value.toExponential(count - 1).split("e");
    return { whole: Number(mantissa.replace(".", "")), exponent: Number(exponent) - count + 1 };
  };
  const longer = parts(digits + 1);
  const isHalf = longer.whole % 10 === 5 && Number(value.toExponential(digits)) === value;
  if (!isHalf) return parts(digits);
  const below = Math.floor(longer.whole / 10);
  return { whole: below + (below % 2), exponent: longer.exponent + 1 };
}

/** log(exp(a) + exp(b)), as `numpy.logaddexp`. */
export function logaddexp(a: number, b: number): number {
  if (a === b) return a + Math.LN2;
  const apart = a - b;
  return apart > 0 ? a + Math.log1p(Math.exp(-apart)) : b + Math.log1p(Math.exp(apart));
}

export function sigmoid(x: number): number {
  return Math.exp(-logaddexp(0, -x));
}

/** As `numpy.interp`: straight between the points, level beyond them; `places` rise. */
export function interpolate(x: number, places: Vector, values: Vector): number {
  const last = places.length - 1;
  if (x >= places[last]) return values[last];
  if (x <= places[0]) return values[0];
  let left = 0;
  for (let right = last; right - left > 1; ) {
    const middle = (left + right) >> 1;
    if (x >= places[middle]) left = middle;
    else right = middle;
  }
  if (x === places[left]) return values[left];
  const slope = (values[left + 1] - values[left]) / (places[left + 1] - places[left]);
  return slope * (x - places[left]) + values[left];
}

/** As `numpy.linspace(0, 1, count)`. */
export function evenlySpaced(count: number): Float64Array {
  const step = 1 / (count - 1);
  const found = Float64Array.from({ length: count }, (_, i) => i * step);
  found[count - 1] = 1;
  return found;
}

/** Row `row` of a matrix that lies flat, row by row. */
export function rowOf(values: Vector, row: number, width: number): Float64Array {
  const found = new Float64Array(width);
  for (let i = 0; i < width; i++) found[i] = values[row * width + i];
  return found;
}
