"use strict";
/* Write a number with its decimals, as `number_format.py` does; a dash where it is missing. */
const written = (value, decimals) => {
  if (value === null) return "–";
  const text = value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
};
