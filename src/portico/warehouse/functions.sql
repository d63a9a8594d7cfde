-- GoogleSQL's functions as DuckDB's macros. A macro's overloads are chosen by the types that DuckDB's binder finds, so
-- what a function means for NUMERIC or for DATETIME stands here once and no types need be inferred beforehand.
-- INT64 BIGINT, FLOAT64 DOUBLE, NUMERIC DECIMAL(38,9), STRING VARCHAR, BYTES BLOB, DATETIME TIMESTAMP, TIMESTAMP
-- TIMESTAMPTZ; the overloads of BIGNUMERIC, a struct, are made in `bignumeric.py`.

-- numbers

CREATE MACRO gs_int(x HUGEINT) AS CAST(x AS BIGINT), (x BIGINT) AS x, (x DOUBLE) AS x, (x DECIMAL(38,9)) AS x, (x INTERVAL) AS x;
CREATE MACRO gs_numeric_div(n HUGEINT, d HUGEINT) AS CAST(sign(n) * sign(d) * ((abs(n) * 1000000000 + abs(d) // 2) // abs(d)) AS DECIMAL(38,0)) * CAST(0.000000001 AS DECIMAL(10,9));
CREATE MACRO gs_scaled(x DECIMAL(38,9)) AS CAST(x * CAST(1000000000 AS DECIMAL(10,0)) AS HUGEINT);
CREATE MACRO gs_div(a DECIMAL(38,9), b DECIMAL(38,9)) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: ' || gs_to_string(a) || ' / ' || gs_to_string(b)) ELSE gs_numeric_div(gs_scaled(a), gs_scaled(b)) END,
  (a BIGINT, b BIGINT) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: ' || a || ' / ' || b) ELSE CAST(a AS DOUBLE) / b END,
  (a DOUBLE, b DOUBLE) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: ' || gs_to_string(a) || ' / ' || gs_to_string(b)) ELSE a / b END,
  (a DECIMAL(38,9), b BIGINT) AS gs_div(a, CAST(b AS DECIMAL(38,9))), (a BIGINT, b DECIMAL(38,9)) AS gs_div(CAST(a AS DECIMAL(38,9)), b),
  (a BIGINT, b DOUBLE) AS gs_div(CAST(a AS DOUBLE), b), (a DOUBLE, b BIGINT) AS gs_div(a, CAST(b AS DOUBLE)),
  (a DECIMAL(38,9), b DOUBLE) AS gs_div(CAST(a AS DOUBLE), b), (a DOUBLE, b DECIMAL(38,9)) AS gs_div(a, CAST(b AS DOUBLE)), (a INTERVAL, b BIGINT) AS gs_interval_div(a, b);
CREATE MACRO gs_mul(a BIGINT, b BIGINT) AS a * b, (a DOUBLE, b DOUBLE) AS a * b, (a BIGINT, b DOUBLE) AS a * b, (a DOUBLE, b BIGINT) AS a * b,
  (a DECIMAL(38,9), b DECIMAL(38,9)) AS CAST(a * b AS DECIMAL(38,9)), (a DECIMAL(38,9), b BIGINT) AS CAST(a * CAST(b AS DECIMAL(38,0)) AS DECIMAL(38,9)), (a BIGINT, b DECIMAL(38,9)) AS CAST(CAST(a AS DECIMAL(38,0)) * b AS DECIMAL(38,9)),
  (a DECIMAL(38,9), b DOUBLE) AS CAST(a AS DOUBLE) * b, (a DOUBLE, b DECIMAL(38,9)) AS a * CAST(b AS DOUBLE), (a INTERVAL, b BIGINT) AS a * b, (a BIGINT, b INTERVAL) AS a * b;
CREATE MACRO gs_days_on(x DATE, n BIGINT) AS CASE WHEN n NOT BETWEEN -719162 - (x - DATE '1970-01-01') AND 2932896 - (x - DATE '1970-01-01') THEN gs_py_error('Adding ' || CAST(n AS VARCHAR) || ' DAY to date ' || CAST(x AS VARCHAR) || ' causes overflow') ELSE x + TRY_CAST(n AS INTEGER) END;
CREATE MACRO gs_in_range(x TIMESTAMP) AS CASE WHEN x < TIMESTAMP '0001-01-01' OR x >= TIMESTAMP '10000-01-01 00:00:00' THEN gs_py_error('Adding the interval overflows: ' || CAST(x AS VARCHAR)) ELSE x END, (x TIMESTAMP, said VARCHAR) AS CASE WHEN x < TIMESTAMP '0001-01-01' OR x >= TIMESTAMP '10000-01-01 00:00:00' THEN gs_py_error(said) ELSE x END;
CREATE MACRO gs_timestamp_add(x TIMESTAMPTZ, i INTERVAL) AS gs_in_range((x AT TIME ZONE 'UTC') + i) AT TIME ZONE 'UTC';
CREATE MACRO gs_timestamp_sub(x TIMESTAMPTZ, i INTERVAL) AS gs_in_range((x AT TIME ZONE 'UTC') - i) AT TIME ZONE 'UTC';
CREATE MACRO gs_add(a BIGINT, b BIGINT) AS a + b, (a DOUBLE, b DOUBLE) AS a + b, (a BIGINT, b DOUBLE) AS a + b, (a DOUBLE, b BIGINT) AS a + b,
  (a DECIMAL(38,9), b DECIMAL(38,9)) AS CAST(a + b AS DECIMAL(38,9)), (a DECIMAL(38,9), b BIGINT) AS CAST(a + CAST(b AS DECIMAL(38,9)) AS DECIMAL(38,9)), (a BIGINT, b DECIMAL(38,9)) AS CAST(CAST(a AS DECIMAL(38,9)) + b AS DECIMAL(38,9)), (a DECIMAL(38,9), b DOUBLE) AS CAST(a AS DOUBLE) + b, (a DOUBLE, b DECIMAL(38,9)) AS a + CAST(b AS DOUBLE),
  (a DATE, b BIGINT) AS gs_days_on(a, b), (a BIGINT, b DATE) AS gs_days_on(b, a), (a INTERVAL, b INTERVAL) AS a + b, (a DATE, b INTERVAL) AS gs_in_range(a + b), (a INTERVAL, b DATE) AS gs_in_range(b + a),
  (a TIMESTAMP, b INTERVAL) AS gs_in_range(a + b), (a INTERVAL, b TIMESTAMP) AS gs_in_range(b + a), (a TIMESTAMPTZ, b INTERVAL) AS gs_timestamp_add(a, b), (a INTERVAL, b TIMESTAMPTZ) AS gs_timestamp_add(b, a);
CREATE MACRO gs_sub(a BIGINT, b BIGINT) AS a - b, (a DOUBLE, b DOUBLE) AS a - b, (a BIGINT, b DOUBLE) AS a - b, (a DOUBLE, b BIGINT) AS a - b,
  (a DECIMAL(38,9), b DECIMAL(38,9)) AS CAST(a - b AS DECIMAL(38,9)), (a DECIMAL(38,9), b BIGINT) AS CAST(a - CAST(b AS DECIMAL(38,9)) AS DECIMAL(38,9)), (a BIGINT, b DECIMAL(38,9)) AS CAST(CAST(a AS DECIMAL(38,9)) - b AS DECIMAL(38,9)), (a DECIMAL(38,9), b DOUBLE) AS CAST(a AS DOUBLE) - b, (a DOUBLE, b DECIMAL(38,9)) AS a - CAST(b AS DOUBLE),
  (a DATE, b BIGINT) AS gs_days_on(a, -b), (a TIME, b TIME) AS to_microseconds(date_diff('microsecond', b, a)), (a DATE, b DATE) AS to_days(CAST(a - b AS INTEGER)), (a INTERVAL, b INTERVAL) AS a - b, (a DATE, b INTERVAL) AS gs_in_range(a - b), (a TIMESTAMP, b INTERVAL) AS gs_in_range(a - b), (a TIMESTAMPTZ, b INTERVAL) AS gs_timestamp_sub(a, b),
  (a TIMESTAMP, b TIMESTAMP) AS to_days(CAST((epoch_us(a) - epoch_us(b)) // 86400000000 AS INTEGER)) + to_microseconds((epoch_us(a) - epoch_us(b)) % 86400000000), (a TIMESTAMPTZ, b TIMESTAMPTZ) AS to_microseconds(epoch_us(a) - epoch_us(b));
CREATE MACRO gs_neg(x BIGINT) AS 0 - x, (x DOUBLE) AS -x, (x DECIMAL(38,9)) AS -x, (x INTERVAL) AS -x;
CREATE MACRO gs_avg(s DECIMAL(38,9), n BIGINT) AS CASE WHEN n = 0 THEN NULL ELSE gs_div(CAST(s AS DECIMAL(38,9)), CAST(n AS DECIMAL(38,9))) END, (s HUGEINT, n BIGINT) AS CASE WHEN n = 0 THEN NULL ELSE CAST(s AS DOUBLE) / n END, (s DOUBLE, n BIGINT) AS CASE WHEN n = 0 THEN NULL ELSE s / n END;
CREATE MACRO gs_integer_div(a BIGINT, b BIGINT) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: ' || a || ' / ' || b) ELSE CAST(sign(a) * sign(b) * (abs(CAST(a AS HUGEINT)) // abs(CAST(b AS HUGEINT))) AS BIGINT) END,
  (a DECIMAL(38,9), b DECIMAL(38,9)) AS trunc(gs_div(a, b));
CREATE MACRO gs_mod(a BIGINT, b BIGINT) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: MOD(' || a || ', ' || b || ')') ELSE a % b END,
  (a DECIMAL(38,9), b BIGINT) AS gs_mod(a, CAST(b AS DECIMAL(38,9))), (a BIGINT, b DECIMAL(38,9)) AS gs_mod(CAST(a AS DECIMAL(38,9)), b), (a DECIMAL(38,9), b DECIMAL(38,9)) AS CASE WHEN b = 0 THEN gs_py_error('division by zero: MOD(' || gs_to_string(a) || ', 0)') ELSE CAST(a % b AS DECIMAL(38,9)) END;
CREATE MACRO gs_abs(x BIGINT) AS abs(x), (x DOUBLE) AS abs(x), (x DECIMAL(38,9)) AS abs(x);
CREATE MACRO gs_sign(x BIGINT) AS CAST(sign(x) AS BIGINT), (x DOUBLE) AS CASE WHEN isnan(x) THEN x ELSE CAST(sign(x) AS DOUBLE) END, (x DECIMAL(38,9)) AS CAST(sign(x) AS DECIMAL(38,9));
CREATE MACRO gs_rounded(y, x, n) AS CASE WHEN isfinite(y) THEN y ELSE gs_py_error('Floating point overflow in function: ROUND(' || gs_to_string(x) || ', ' || gs_to_string(n) || ')') END;
CREATE MACRO gs_round(x DOUBLE) AS CASE WHEN abs(x) < 4503599627370496 THEN round(x) ELSE x END, (x DECIMAL(38,9)) AS CAST(round(x, 0) AS DECIMAL(38,9)), (x BIGINT) AS CAST(x AS DOUBLE),
  (x DOUBLE, n BIGINT) AS CASE WHEN isfinite(x) THEN gs_rounded(round(x, CAST(n AS INTEGER)), x, n) ELSE x END, (x DECIMAL(38,9), n BIGINT) AS CAST(gs_py_round(CAST(x AS VARCHAR), n, 'HALF_AWAY') AS DECIMAL(38,9)), (x BIGINT, n BIGINT) AS round(CAST(x AS DOUBLE), CAST(n AS INTEGER)),
  (x DECIMAL(38,9), n BIGINT, mode VARCHAR) AS CAST(gs_py_round(CAST(x AS VARCHAR), n, mode) AS DECIMAL(38,9));
CREATE MACRO gs_trunc(x DOUBLE) AS trunc(x), (x DECIMAL(38,9)) AS CAST(trunc(x) AS DECIMAL(38,9)), (x BIGINT) AS CAST(x AS DOUBLE),
  (x DOUBLE, n BIGINT) AS trunc(x * pow(10, n)) / pow(10, n), (x DECIMAL(38,9), n BIGINT) AS CAST(gs_py_round(CAST(x AS VARCHAR), n, 'DOWN') AS DECIMAL(38,9));
CREATE MACRO gs_ceil(x DOUBLE) AS ceil(x), (x DECIMAL(38,9)) AS CAST(ceil(x) AS DECIMAL(38,9)), (x BIGINT) AS CAST(x AS DOUBLE);
CREATE MACRO gs_floor(x DOUBLE) AS floor(x), (x DECIMAL(38,9)) AS CAST(floor(x) AS DECIMAL(38,9)), (x BIGINT) AS CAST(x AS DOUBLE);
CREATE MACRO gs_sqrt(x DOUBLE) AS CASE WHEN x < 0 THEN gs_py_error('Argument to SQRT cannot be negative: ' || gs_to_string(x)) ELSE sqrt(x) END, (x DECIMAL(38,9)) AS CASE WHEN x < 0 THEN gs_py_error('Argument to SQRT cannot be negative: ' || gs_to_string(x)) ELSE CAST(gs_py_decimal('sqrt', CAST(x AS VARCHAR), '10') AS DECIMAL(38,9)) END, (x BIGINT) AS gs_sqrt(CAST(x AS DOUBLE));
CREATE MACRO gs_pow(x DOUBLE, y DOUBLE) AS CASE WHEN isfinite(x) AND NOT isfinite(pow(x, y)) THEN gs_py_error('Floating point error in function: POW(' || gs_to_string(x) || ', ' || gs_to_string(y) || ')') ELSE pow(x, y) END, (x BIGINT, y BIGINT) AS gs_pow(CAST(x AS DOUBLE), CAST(y AS DOUBLE)), (x BIGINT, y DOUBLE) AS gs_pow(CAST(x AS DOUBLE), y), (x DOUBLE, y BIGINT) AS gs_pow(x, CAST(y AS DOUBLE)),
  (x DECIMAL(38,9), y DECIMAL(38,9)) AS CAST(gs_py_decimal('pow', CAST(x AS VARCHAR), CAST(y AS VARCHAR)) AS DECIMAL(38,9)), (x DECIMAL(38,9), y BIGINT) AS gs_pow(x, CAST(y AS DECIMAL(38,9))), (x BIGINT, y DECIMAL(38,9)) AS gs_pow(CAST(x AS DECIMAL(38,9)), y), (x DECIMAL(38,9), y DOUBLE) AS gs_pow(CAST(x AS DOUBLE), y), (x DOUBLE, y DECIMAL(38,9)) AS gs_pow(x, CAST(y AS DOUBLE));
CREATE MACRO gs_finite(y, x, name) AS CASE WHEN isfinite(CAST(x AS DOUBLE)) AND NOT isfinite(y) THEN gs_py_error('Floating point ' || name || '(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE y END;
CREATE MACRO gs_exp(x DOUBLE) AS gs_finite(exp(CAST(x AS DOUBLE)), x, 'error in function: EXP'), (x BIGINT) AS gs_exp(CAST(x AS DOUBLE)), (x DECIMAL(38,9)) AS CAST(gs_py_decimal('exp', CAST(x AS VARCHAR), '10') AS DECIMAL(38,9));
CREATE MACRO gs_ln(x DOUBLE) AS CASE WHEN CAST(x AS DOUBLE) <= 0 THEN gs_py_error('Floating point error in function: LN(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE ln(CAST(x AS DOUBLE)) END, (x BIGINT) AS gs_ln(CAST(x AS DOUBLE)), (x DECIMAL(38,9)) AS CAST(gs_py_decimal('ln', CAST(x AS VARCHAR), '10') AS DECIMAL(38,9));
CREATE MACRO gs_log(x DOUBLE) AS gs_ln(x), (x BIGINT) AS gs_ln(x), (x DECIMAL(38,9)) AS gs_ln(x),
  (x DOUBLE, b DOUBLE) AS CASE WHEN b = 10 THEN gs_log10(x) WHEN b = 1 THEN gs_py_error('Floating point error in function: LOG(' || gs_to_string(x) || ', 1)') WHEN x <= 0 OR b <= 0 THEN gs_py_error('Floating point error in function: LOG(' || gs_to_string(x) || ', ' || gs_to_string(b) || ')') ELSE ln(x) / ln(b) END, (x BIGINT, b BIGINT) AS gs_log(CAST(x AS DOUBLE), CAST(b AS DOUBLE)), (x DOUBLE, b BIGINT) AS gs_log(x, CAST(b AS DOUBLE)), (x BIGINT, b DOUBLE) AS gs_log(CAST(x AS DOUBLE), b),
  (x DECIMAL(38,9), b DECIMAL(38,9)) AS CAST(gs_py_decimal('log', CAST(x AS VARCHAR), CAST(b AS VARCHAR)) AS DECIMAL(38,9)), (x DECIMAL(38,9), b BIGINT) AS gs_log(x, CAST(b AS DECIMAL(38,9))), (x BIGINT, b DECIMAL(38,9)) AS gs_log(CAST(x AS DECIMAL(38,9)), b), (x DECIMAL(38,9), b DOUBLE) AS gs_log(CAST(x AS DOUBLE), b), (x DOUBLE, b DECIMAL(38,9)) AS gs_log(x, CAST(b AS DOUBLE));
CREATE MACRO gs_log10(x DOUBLE) AS CASE WHEN CAST(x AS DOUBLE) <= 0 THEN gs_py_error('Floating point error in function: LOG10(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE log10(CAST(x AS DOUBLE)) END, (x BIGINT) AS gs_log10(CAST(x AS DOUBLE)), (x DECIMAL(38,9)) AS CAST(gs_py_decimal('log10', CAST(x AS VARCHAR), '10') AS DECIMAL(38,9));
CREATE MACRO gs_cbrt(x) AS cbrt(CAST(x AS DOUBLE));
CREATE MACRO gs_is_nan(x) AS isnan(CAST(x AS DOUBLE));
CREATE MACRO gs_is_inf(x) AS isinf(CAST(x AS DOUBLE));
CREATE MACRO gs_acosh(x) AS CASE WHEN CAST(x AS DOUBLE) < 1 THEN gs_py_error('Floating point error in function: ACOSH(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE acosh(CAST(x AS DOUBLE)) END;
CREATE MACRO gs_acos(x) AS CASE WHEN abs(CAST(x AS DOUBLE)) > 1 THEN gs_py_error('Floating point error in function: ACOS(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE acos(CAST(x AS DOUBLE)) END;
CREATE MACRO gs_asin(x) AS CASE WHEN abs(CAST(x AS DOUBLE)) > 1 THEN gs_py_error('Floating point error in function: ASIN(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE asin(CAST(x AS DOUBLE)) END;
CREATE MACRO gs_atan(x) AS atan(CAST(x AS DOUBLE));
CREATE MACRO gs_asinh(x) AS asinh(CAST(x AS DOUBLE));
CREATE MACRO gs_atanh(x) AS CASE WHEN abs(CAST(x AS DOUBLE)) >= 1 THEN gs_py_error('Floating point error in function: ATANH(' || gs_to_string(CAST(x AS DOUBLE)) || ')') ELSE atanh(CAST(x AS DOUBLE)) END;
CREATE MACRO gs_sin(x) AS sin(CAST(x AS DOUBLE));
CREATE MACRO gs_cos(x) AS cos(CAST(x AS DOUBLE));
CREATE MACRO gs_tan(x) AS tan(CAST(x AS DOUBLE));
CREATE MACRO gs_sinh(x) AS gs_finite(sinh(CAST(x AS DOUBLE)), x, 'overflow in function: SINH');
CREATE MACRO gs_cosh(x) AS gs_finite(cosh(CAST(x AS DOUBLE)), x, 'overflow in function: COSH');
CREATE MACRO gs_tanh(x) AS tanh(CAST(x AS DOUBLE));
CREATE MACRO gs_sec(x) AS 1 / cos(CAST(x AS DOUBLE));
CREATE MACRO gs_csc(x) AS gs_div(CAST(1 AS DOUBLE), sin(CAST(x AS DOUBLE)));
CREATE MACRO gs_cot(x) AS gs_div(CAST(1 AS DOUBLE), tan(CAST(x AS DOUBLE)));
CREATE MACRO gs_sech(x) AS 1 / cosh(CAST(x AS DOUBLE));
CREATE MACRO gs_csch(x) AS gs_div(CAST(1 AS DOUBLE), sinh(CAST(x AS DOUBLE)));
CREATE MACRO gs_coth(x) AS gs_div(CAST(1 AS DOUBLE), tanh(CAST(x AS DOUBLE)));
CREATE MACRO gs_atan2(y, x) AS atan2(CAST(y AS DOUBLE), CAST(x AS DOUBLE));
CREATE MACRO gs_range_bucket(x, bounds) AS CASE WHEN x IS NULL OR bounds IS NULL OR (typeof(x) = 'DOUBLE' AND CAST(x AS VARCHAR) = 'nan') THEN NULL WHEN list_position(bounds, NULL) > 0 THEN gs_py_error('Elements in input array to RANGE_BUCKET cannot be null. Null element found at position ' || list_position(bounds, NULL)) WHEN bounds <> list_sort(bounds) THEN gs_py_error('Elements in input array to RANGE_BUCKET must be in ascending order.') ELSE CAST(len(list_filter(bounds, lambda b: b <= x)) AS BIGINT) END;
CREATE MACRO gs_zeroifnull(x) AS coalesce(x, 0);
CREATE MACRO gs_nullifzero(x) AS nullif(x, 0);
-- A sparse vector is an array of pairs; of one made without names, DuckDB's fields have none either.
CREATE MACRO gs_dense(a, b) AS list_transform(list_sort(list_distinct(list_concat(list_transform(a, lambda e: struct_extract_at(e, 1)), list_transform(b, lambda e: struct_extract_at(e, 1))))), lambda k: coalesce(list_sum(list_transform(list_filter(a, lambda e: struct_extract_at(e, 1) = k), lambda e: CAST(struct_extract_at(e, 2) AS DOUBLE))), 0));
CREATE MACRO gs_vectors_checked(a, b, n VARCHAR, zero BOOLEAN) AS CASE WHEN zero AND (len(list_filter(a, lambda e: e <> 0)) = 0 OR len(list_filter(b, lambda e: e <> 0)) = 0) THEN gs_py_error('Cannot compute cosine distance against zero vector') WHEN n = 'cosine' THEN list_cosine_distance(a, b) ELSE list_distance(a, b) END;
CREATE MACRO gs_sparse_checked(a) AS CASE WHEN len(list_distinct(list_transform(a, lambda e: struct_extract_at(e, 1)))) < len(a) THEN gs_py_error('Duplicate index found in the input array') ELSE a END;
CREATE MACRO gs_cosine_distance(a DOUBLE[], b DOUBLE[]) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE gs_vectors_checked(a, b, 'cosine', true) END, (a BIGINT[], b BIGINT[]) AS gs_cosine_distance(CAST(a AS DOUBLE[]), CAST(b AS DOUBLE[])), (a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE gs_vectors_checked(gs_dense(gs_sparse_checked(a), b), gs_dense(gs_sparse_checked(b), a), 'cosine', true) END;
CREATE MACRO gs_euclidean_distance(a DOUBLE[], b DOUBLE[]) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE gs_vectors_checked(a, b, 'euclidean', false) END, (a BIGINT[], b BIGINT[]) AS gs_euclidean_distance(CAST(a AS DOUBLE[]), CAST(b AS DOUBLE[])), (a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE gs_vectors_checked(gs_dense(gs_sparse_checked(a), b), gs_dense(gs_sparse_checked(b), a), 'euclidean', false) END;
CREATE MACRO gs_bit_and(a BIGINT, b BIGINT) AS a & b, (a BLOB, b BLOB) AS gs_py_bytes_bits(a, b, '&');
CREATE MACRO gs_bit_or(a BIGINT, b BIGINT) AS a | b, (a BLOB, b BLOB) AS gs_py_bytes_bits(a, b, '|');
CREATE MACRO gs_bit_xor(a BIGINT, b BIGINT) AS xor(a, b), (a BLOB, b BLOB) AS gs_py_bytes_bits(a, b, '^');
CREATE MACRO gs_bit_not(a BIGINT) AS ~a, (a BLOB) AS gs_py_bytes_bits(a, a, '~');
CREATE MACRO gs_bit_count(x BIGINT) AS CAST(bit_count(x) AS BIGINT), (x BLOB) AS CASE WHEN octet_length(x) = 0 THEN 0 ELSE CAST(bit_count(CAST(x AS BIT)) AS BIGINT) END;
CREATE MACRO gs_shift_left(x BIGINT, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Bitwise shift by negative offset.') WHEN n > 63 THEN 0 ELSE gs_wrap(CAST(x AS HUGEINT) * CAST(pow(CAST(2 AS DOUBLE), n) AS HUGEINT)) END, (x BLOB, n BIGINT) AS gs_py_bytes_shift(x, n);
CREATE MACRO gs_wrap(x HUGEINT) AS CAST(((x + 9223372036854775808) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 - 9223372036854775808 AS BIGINT);
CREATE MACRO gs_shift_right(x BIGINT, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Bitwise shift by negative offset.') WHEN n > 63 THEN 0 WHEN n = 0 THEN x WHEN x >= 0 THEN x >> n ELSE CAST((CAST(x AS HUGEINT) + 18446744073709551616) // CAST(pow(CAST(2 AS DOUBLE), n) AS HUGEINT) AS BIGINT) END, (x BLOB, n BIGINT) AS gs_py_bytes_shift(x, -n);
CREATE MACRO gs_rand() AS random();
CREATE MACRO gs_generate_uuid() AS CAST(uuid() AS VARCHAR);
CREATE MACRO gs_typeof(x) AS gs_py_type_name(typeof(x));
CREATE MACRO gs_error(message) AS gs_py_error(CAST(message AS VARCHAR));
CREATE MACRO gs_lit(x DECIMAL(38,9), t VARCHAR) AS CAST(t AS DECIMAL(38,9)), (x DOUBLE, t VARCHAR) AS CAST(t AS DOUBLE), (x BIGINT, t VARCHAR) AS CAST(t AS DOUBLE);
CREATE MACRO gs_parse_numeric(x VARCHAR) AS gs_cast_numeric(gs_py_number(x, 'NUMERIC'));

-- casts

CREATE MACRO gs_float_text(x DOUBLE) AS gs_py_float(x);
CREATE MACRO gs_decimal_text(x VARCHAR) AS CASE WHEN contains(x, '.') THEN rtrim(rtrim(x, '0'), '.') ELSE x END;
CREATE MACRO gs_fraction(x VARCHAR) AS CASE WHEN ends_with(x, '.000000') THEN left(x, length(x) - 7) WHEN contains(x, '.') THEN gs_py_fraction(x) ELSE x END;
CREATE MACRO gs_to_string(x VARCHAR) AS x, (x BIGINT) AS CAST(x AS VARCHAR), (x HUGEINT) AS CAST(x AS VARCHAR), (x DOUBLE) AS gs_float_text(x), (x BOOLEAN) AS CASE WHEN x THEN 'true' WHEN NOT x THEN 'false' END,
  (x DECIMAL(38,9)) AS gs_decimal_text(CAST(x AS VARCHAR)), (x BLOB) AS gs_utf8(x), (x DATE) AS strftime(x, '%Y-%m-%d'), (x TIME) AS gs_fraction(CAST(x AS VARCHAR)),
  (x TIMESTAMP) AS gs_fraction(strftime(x, '%Y-%m-%d %H:%M:%S.%f')), (x TIMESTAMPTZ) AS gs_fraction(strftime(x AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%f')) || '+00', (x GEOMETRY) AS gs_py_st_astext(x), (x STRUCT("$start" DATE, "$end" DATE)) AS gs_range_text(x), (x STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP)) AS gs_range_text(x), (x STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ)) AS gs_range_text(x), (x INTERVAL) AS gs_py_interval(CAST(datepart('year', x) * 12 + datepart('month', x) AS BIGINT), CAST(datepart('day', x) AS BIGINT), CAST(datepart('hour', x) * 3600000000 + datepart('minute', x) * 60000000 + datepart('microsecond', x) AS BIGINT));
CREATE MACRO gs_utf8(x BLOB) AS CASE WHEN TRY(decode(x)) IS NULL AND x IS NOT NULL THEN gs_py_error('Invalid cast of bytes to UTF8 string') ELSE decode(x) END;
CREATE MACRO gs_int_of_float(x DOUBLE, shown VARCHAR) AS CASE WHEN NOT isfinite(x) THEN gs_py_error('Illegal conversion of non-finite floating point number to an integer: ' || shown) WHEN abs(x) >= 9223372036854775808 THEN gs_py_error('int64 out of range: ' || shown) ELSE CAST(gs_round(x) AS BIGINT) END;
CREATE MACRO gs_cast_int64(x VARCHAR) AS CASE WHEN regexp_full_match(trim(x), '[+-]?[0-9]+') THEN coalesce(TRY_CAST(trim(x) AS BIGINT), CAST(gs_py_error('Bad int64 value: ' || x) AS BIGINT)) WHEN regexp_full_match(trim(x), '[+-]?0[xX][0-9a-fA-F]+') THEN gs_py_hex(trim(x)) WHEN x IS NULL THEN NULL ELSE gs_py_error('Bad int64 value: ' || x) END,
  (x BIGINT) AS x, (x HUGEINT) AS CAST(x AS BIGINT), (x DOUBLE) AS gs_int_of_float(x, gs_float_text(x)), (x DECIMAL(38,9)) AS CAST(round(x, 0) AS BIGINT), (x BOOLEAN) AS CAST(x AS BIGINT);
CREATE MACRO gs_cast_float64(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE coalesce(TRY_CAST(trim(x) AS DOUBLE), gs_py_error('Bad double value: ' || x)) END, (x BIGINT) AS CAST(x AS DOUBLE), (x DOUBLE) AS x, (x DECIMAL(38,9)) AS CAST(x AS DOUBLE);
CREATE MACRO gs_cast_numeric(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE coalesce(TRY_CAST(trim(x) AS DECIMAL(38,9)), gs_py_error('Invalid NUMERIC value: ' || x)) END, (x BIGINT) AS CAST(x AS DECIMAL(38,9)), (x HUGEINT) AS CAST(x AS DECIMAL(38,9)), (x DOUBLE) AS CAST(gs_py_float(x) AS DECIMAL(38,9)), (x DECIMAL(38,9)) AS CAST(x AS DECIMAL(38,9));
CREATE MACRO gs_cast_bool(x VARCHAR) AS CASE WHEN lower(x) = 'true' THEN true WHEN lower(x) = 'false' THEN false WHEN x IS NULL THEN NULL ELSE gs_py_error('Bad bool value: ' || x) END, (x BIGINT) AS x <> 0, (x BOOLEAN) AS x;
CREATE MACRO gs_cast_bytes(x VARCHAR) AS encode(x), (x BLOB) AS x;
CREATE MACRO gs_cast_date(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE gs_py_date(x) END, (x DATE) AS x, (x TIMESTAMP) AS CAST(x AS DATE), (x TIMESTAMPTZ) AS CAST(x AT TIME ZONE 'UTC' AS DATE);
CREATE MACRO gs_cast_time(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE gs_py_time(x) END, (x TIME) AS x, (x TIMESTAMP) AS CAST(x AS TIME), (x TIMESTAMPTZ) AS CAST(x AT TIME ZONE 'UTC' AS TIME);
CREATE MACRO gs_cast_datetime(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE gs_py_datetime(x) END, (x DATE) AS CAST(x AS TIMESTAMP), (x TIMESTAMP) AS x, (x TIMESTAMPTZ) AS x AT TIME ZONE 'UTC';
CREATE MACRO gs_cast_timestamp(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE gs_py_timestamp(x, 'UTC') END, (x DATE) AS CAST(x AS TIMESTAMP) AT TIME ZONE 'UTC', (x TIMESTAMP) AS x AT TIME ZONE 'UTC', (x TIMESTAMPTZ) AS x;

CREATE MACRO gs_cast_geography(x VARCHAR) AS gs_py_st_geogfrom(x), (x GEOMETRY) AS x;
CREATE MACRO gs_sized_string(x VARCHAR, n, s) AS CASE WHEN length(x) > n THEN gs_py_error('STRING(' || n || ') has maximum length ' || n || ' but got a value with length ' || length(x)) ELSE x END;
CREATE MACRO gs_sized_bytes(x BLOB, n, s) AS CASE WHEN octet_length(x) > n THEN gs_py_error('BYTES(' || n || ') has maximum length ' || n || ' but got a value with length ' || octet_length(x)) ELSE x END;
CREATE MACRO gs_sized_numeric(x DECIMAL(38,9), n, s) AS CASE WHEN abs(CAST(round(x, s) AS DOUBLE)) >= pow(10, n - s) THEN gs_py_error('NUMERIC(' || n || ', ' || s || ') has precision ' || n || ' and scale ' || s || ' but got a value that is not in range of [-' || CAST(pow(10, n - s) AS VARCHAR) || ', ' || CAST(pow(10, n - s) AS VARCHAR) || ']: ' || gs_to_string(x)) ELSE CAST(round(x, s) AS DECIMAL(38,9)) END;

-- CAST with FORMAT: the value, the format, the zone

CREATE MACRO gs_cast_text(x DATE, f VARCHAR, z VARCHAR) AS gs_py_format_time(f, CAST(x AS TIMESTAMP), 0, 'DATE'), (x TIMESTAMP, f VARCHAR, z VARCHAR) AS gs_py_format_time(f, x, 0, 'DATETIME'), (x TIMESTAMPTZ, f VARCHAR, z VARCHAR) AS gs_py_format_time(f, gs_local(x, z), gs_offset(x, z), 'TIMESTAMP'),
  (x TIME, f VARCHAR, z VARCHAR) AS gs_py_format_time(f, DATE '1970-01-01' + x, 0, 'TIME'), (x BLOB, f VARCHAR, z VARCHAR) AS gs_py_format_bytes(f, x), (x BIGINT, f VARCHAR, z VARCHAR) AS gs_py_format_number(f, CAST(x AS VARCHAR)), (x DOUBLE, f VARCHAR, z VARCHAR) AS gs_py_format_number(f, gs_to_string(x)), (x DECIMAL(38,9), f VARCHAR, z VARCHAR) AS gs_py_format_number(f, gs_to_string(x));

-- ranges: structs of a start and an end, NULL where they are unbounded

CREATE MACRO gs_range_start(r) AS struct_extract(r, '$start');
CREATE MACRO gs_range_end(r) AS struct_extract(r, '$end');
CREATE MACRO gs_range_of(a, b) AS {'$start': a, '$end': b};
CREATE MACRO gs_range(a DATE, b DATE) AS gs_range_checked(a, b), (a TIMESTAMP, b TIMESTAMP) AS gs_range_checked(a, b), (a TIMESTAMPTZ, b TIMESTAMPTZ) AS gs_range_checked(a, b);
CREATE MACRO gs_range_checked(a, b) AS CASE WHEN a >= b THEN gs_py_error('Range start element must be smaller than range end element: [' || CAST(a AS VARCHAR) || ', ' || CAST(b AS VARCHAR) || ')') ELSE gs_range_of(a, b) END;
CREATE MACRO gs_range_text(r) AS CASE WHEN r IS NOT NULL THEN '[' || coalesce(CAST(gs_range_start(r) AS VARCHAR), 'UNBOUNDED') || ', ' || coalesce(CAST(gs_range_end(r) AS VARCHAR), 'UNBOUNDED') || ')' END;
CREATE MACRO gs_range_low(r) AS coalesce(gs_range_start(r), '-infinity');
CREATE MACRO gs_range_high(r) AS coalesce(gs_range_end(r), 'infinity');
CREATE MACRO gs_range_key(r) AS CASE WHEN r IS NOT NULL THEN {'low': gs_range_low(r), 'high': gs_range_high(r)} END;
CREATE MACRO gs_range_meet(r, s) AS CASE WHEN r IS NOT NULL AND s IS NOT NULL THEN gs_range_low(r) < gs_range_high(s) AND gs_range_low(s) < gs_range_high(r) END;
CREATE MACRO gs_range_has(r, x) AS CASE WHEN r IS NOT NULL AND x IS NOT NULL THEN gs_range_low(r) <= x AND x < gs_range_high(r) END;
CREATE MACRO gs_range_holds(r, s) AS CASE WHEN r IS NOT NULL AND s IS NOT NULL THEN gs_range_low(r) <= gs_range_low(s) AND gs_range_high(s) <= gs_range_high(r) END;
CREATE MACRO gs_range_overlaps(r STRUCT("$start" DATE, "$end" DATE), s STRUCT("$start" DATE, "$end" DATE)) AS gs_range_meet(r, s), (r STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP), s STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP)) AS gs_range_meet(r, s), (r STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ), s STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ)) AS gs_range_meet(r, s);
CREATE MACRO gs_range_contains(r STRUCT("$start" DATE, "$end" DATE), x DATE) AS gs_range_has(r, x), (r STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP), x TIMESTAMP) AS gs_range_has(r, x), (r STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ), x TIMESTAMPTZ) AS gs_range_has(r, x),
  (r STRUCT("$start" DATE, "$end" DATE), s STRUCT("$start" DATE, "$end" DATE)) AS gs_range_holds(r, s), (r STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP), s STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP)) AS gs_range_holds(r, s), (r STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ), s STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ)) AS gs_range_holds(r, s);
CREATE MACRO gs_range_intersect(r, s) AS CASE WHEN gs_range_meet(r, s) THEN gs_range_of(nullif(greatest(gs_range_low(r), gs_range_low(s)), '-infinity'), nullif(least(gs_range_high(r), gs_range_high(s)), 'infinity')) WHEN r IS NULL OR s IS NULL THEN NULL ELSE gs_py_error('Provided RANGE inputs: ' || gs_range_text(r) || ' and ' || gs_range_text(s) || ' do not overlap. Please check RANGE_OVERLAPS before calling RANGE_INTERSECT') END;
CREATE MACRO gs_range_steps(r, i, partial) AS CASE WHEN r IS NULL OR i IS NULL THEN NULL WHEN gs_range_start(r) IS NULL OR gs_range_end(r) IS NULL THEN gs_py_error('Cannot generate a range array from a range with an unbounded start or end: ' || gs_range_text(r)) WHEN gs_range_start(r) + i <= gs_range_start(r) THEN gs_py_error('GENERATE_RANGE_ARRAY requires a positive step') ELSE
  list_filter(list_transform(range(0, len(range(CAST(gs_range_start(r) AS TIMESTAMP), CAST(gs_range_end(r) AS TIMESTAMP), i)) + 1), lambda n: {'a': gs_range_start(r) + i * n, 'b': gs_range_start(r) + i * (n + 1)}), lambda s: s.a < gs_range_end(r) AND (partial OR s.b <= gs_range_end(r))) END;
CREATE MACRO gs_generate_range_array(r STRUCT("$start" DATE, "$end" DATE), i INTERVAL) AS gs_generate_range_array(r, i, true), (r STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP), i INTERVAL) AS gs_generate_range_array(r, i, true), (r STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ), i INTERVAL) AS gs_generate_range_array(r, i, true),
  (r STRUCT("$start" DATE, "$end" DATE), i INTERVAL, partial BOOLEAN) AS list_transform(gs_range_steps(r, i, partial), lambda s: gs_range_of(CAST(s.a AS DATE), least(CAST(s.b AS DATE), gs_range_end(r)))), (r STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP), i INTERVAL, partial BOOLEAN) AS list_transform(gs_range_steps(r, i, partial), lambda s: gs_range_of(s.a, least(s.b, gs_range_end(r)))), (r STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ), i INTERVAL, partial BOOLEAN) AS list_transform(gs_range_steps(r, i, partial), lambda s: gs_range_of(s.a, least(s.b, gs_range_end(r))));
CREATE MACRO gs_range_half(x VARCHAR, place) AS CASE WHEN NOT regexp_full_match(trim(x), '\[[^,]*,[^,]*\)') THEN gs_py_error('Invalid RANGE literal: ' || x) WHEN upper(trim(split_part(trim(x, ' [)'), ',', place))) IN ('UNBOUNDED', 'NULL') THEN NULL ELSE trim(split_part(trim(x, ' [)'), ',', place)) END;
CREATE MACRO gs_cast_range_date(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_range(gs_cast_date(gs_range_half(x, 1)), gs_cast_date(gs_range_half(x, 2))) END, (x STRUCT("$start" DATE, "$end" DATE)) AS x;
CREATE MACRO gs_cast_range_datetime(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_range(gs_cast_datetime(gs_range_half(x, 1)), gs_cast_datetime(gs_range_half(x, 2))) END, (x STRUCT("$start" TIMESTAMP, "$end" TIMESTAMP)) AS x;
CREATE MACRO gs_cast_range_timestamp(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_range(gs_cast_timestamp(gs_range_half(x, 1)), gs_cast_timestamp(gs_range_half(x, 2))) END, (x STRUCT("$start" TIMESTAMPTZ, "$end" TIMESTAMPTZ)) AS x;

-- a RANGE as files and requests give it: its literal, or an object with a start and an end

CREATE MACRO gs_read_range(x VARCHAR) AS CASE WHEN starts_with(trim(x), '{') THEN '[' || coalesce(json_extract_string(x, '$.start'), 'UNBOUNDED') || ', ' || coalesce(json_extract_string(x, '$.end'), 'UNBOUNDED') || ')' ELSE x END;
CREATE MACRO gs_read_range_date(x VARCHAR) AS gs_cast_range_date(gs_read_range(x));
CREATE MACRO gs_read_range_datetime(x VARCHAR) AS gs_cast_range_datetime(gs_read_range(x));
CREATE MACRO gs_read_range_timestamp(x VARCHAR) AS gs_cast_range_timestamp(gs_read_range(x));

-- intervals: whole months, days, microseconds

CREATE MACRO gs_months(i) AS CAST(datepart('year', i) * 12 + datepart('month', i) AS BIGINT);
CREATE MACRO gs_micros(i) AS CAST(datepart('hour', i) * 3600000000 + datepart('minute', i) * 60000000 + datepart('microsecond', i) AS BIGINT);
CREATE MACRO gs_interval_of(months, days, micros) AS to_months(CAST(months AS INTEGER)) + to_days(CAST(days AS INTEGER)) + to_microseconds(CAST(micros AS BIGINT));
CREATE MACRO gs_justified(i, what) AS list_transform([gs_py_justify(gs_months(i), CAST(datepart('day', i) AS BIGINT), gs_micros(i), what)], lambda j: gs_interval_of(j[1], j[2], j[3]))[1];
CREATE MACRO gs_justify_days(i INTERVAL) AS gs_justified(i, 'DAYS');
CREATE MACRO gs_justify_hours(i INTERVAL) AS gs_justified(i, 'HOURS');
CREATE MACRO gs_justify_interval(i INTERVAL) AS gs_justified(i, 'INTERVAL');
CREATE MACRO gs_cast_interval(x VARCHAR) AS list_transform([gs_py_read_interval(x)], lambda p: gs_interval_of(p[1], p[2], p[3]))[1], (x INTERVAL) AS x;
CREATE MACRO gs_interval_div(i, n) AS list_transform([gs_py_interval_div(gs_months(i), CAST(datepart('day', i) AS BIGINT), gs_micros(i), n)], lambda p: gs_interval_of(p[1], p[2], p[3]))[1];

-- dates and times

CREATE MACRO gs_shift_of(zone) AS CASE WHEN starts_with(zone, '-') THEN -1 ELSE 1 END * (CAST(regexp_extract(zone, '[+-]?(\d{1,2})', 1) AS BIGINT) * 60 + coalesce(TRY_CAST(regexp_extract(zone, ':(\d{2})', 1) AS BIGINT), 0));
CREATE MACRO gs_local(x TIMESTAMPTZ, zone VARCHAR) AS CASE WHEN regexp_full_match(zone, '(UTC)?[+-]\d{1,2}(:\d{2})?') THEN (x AT TIME ZONE 'UTC') + to_minutes(gs_shift_of(replace(zone, 'UTC', ''))) ELSE timezone(zone, x) END;
CREATE MACRO gs_instant(x TIMESTAMP, zone VARCHAR) AS CASE WHEN regexp_full_match(zone, '(UTC)?[+-]\d{1,2}(:\d{2})?') THEN (x - to_minutes(gs_shift_of(replace(zone, 'UTC', '')))) AT TIME ZONE 'UTC' ELSE timezone(zone, x) END;
CREATE MACRO gs_padded(n, width) AS CASE WHEN length(CAST(n AS VARCHAR)) < width THEN lpad(CAST(n AS VARCHAR), width, '0') ELSE CAST(n AS VARCHAR) END;
CREATE MACRO gs_date(x VARCHAR) AS gs_cast_date(x), (x DATE) AS x, (x TIMESTAMP) AS CAST(x AS DATE), (x TIMESTAMPTZ) AS CAST(x AT TIME ZONE 'UTC' AS DATE), (x TIMESTAMPTZ, zone VARCHAR) AS CAST(gs_local(x, zone) AS DATE), (y BIGINT, m BIGINT, d BIGINT) AS CASE WHEN y NOT BETWEEN 1 AND 9999 THEN gs_py_error('Input calculates to invalid date: ' || gs_padded(y, 4) || '-' || gs_padded(m, 2) || '-' || gs_padded(d, 2)) ELSE make_date(y, m, d) END;
CREATE MACRO gs_time(x TIMESTAMP) AS CAST(x AS TIME), (x TIMESTAMPTZ) AS CAST(x AT TIME ZONE 'UTC' AS TIME), (x TIMESTAMPTZ, zone VARCHAR) AS CAST(gs_local(x, zone) AS TIME), (x TIME) AS x, (h BIGINT, m BIGINT, s BIGINT) AS CASE WHEN h NOT BETWEEN 0 AND 23 OR m NOT BETWEEN 0 AND 59 OR s NOT BETWEEN 0 AND 59 THEN gs_py_error('Input calculates to invalid time: ' || gs_padded(h, 2) || ':' || gs_padded(m, 2) || ':' || gs_padded(s, 2)) ELSE make_time(h, m, CAST(s AS DOUBLE)) END;
CREATE MACRO gs_datetime(x VARCHAR) AS gs_cast_datetime(x), (x DATE) AS CAST(x AS TIMESTAMP), (x TIMESTAMP) AS x, (x TIMESTAMPTZ) AS x AT TIME ZONE 'UTC', (x TIMESTAMPTZ, zone VARCHAR) AS gs_local(x, zone), (x DATE, t TIME) AS x + t, (y BIGINT, mo BIGINT, d BIGINT, h BIGINT, mi BIGINT, s BIGINT) AS CASE WHEN y NOT BETWEEN 1 AND 9999 THEN gs_py_error('Input calculates to invalid datetime: ' || gs_padded(y, 4) || '-' || gs_padded(mo, 2) || '-' || gs_padded(d, 2)) ELSE make_timestamp(y, mo, d, h, mi, CAST(s AS DOUBLE)) END;
CREATE MACRO gs_timestamp(x VARCHAR) AS gs_cast_timestamp(x), (x DATE) AS CAST(x AS TIMESTAMP) AT TIME ZONE 'UTC', (x TIMESTAMP) AS x AT TIME ZONE 'UTC', (x TIMESTAMPTZ) AS x, (x VARCHAR, zone VARCHAR) AS gs_py_timestamp_in(x, zone), (x DATE, zone VARCHAR) AS gs_instant(CAST(x AS TIMESTAMP), zone), (x TIMESTAMP, zone VARCHAR) AS gs_instant(x, zone);
CREATE MACRO gs_zone_text(minutes) AS CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0') || CASE WHEN minutes % 60 = 0 THEN '' ELSE ':' || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0') END;
CREATE MACRO gs_string(x TIMESTAMPTZ, zone VARCHAR) AS gs_to_string(gs_local(x, zone)) || gs_zone_text(gs_offset(x, zone)), (x) AS CASE WHEN typeof(x) <> 'JSON' THEN gs_to_string(x) WHEN x IS NULL THEN NULL WHEN json_type(to_json(x)) = 'VARCHAR' THEN json_extract_string(to_json(x), '$') ELSE gs_py_error('The provided JSON input is not a string') END;
CREATE MACRO gs_offset(x TIMESTAMPTZ, zone VARCHAR) AS CAST((epoch_us(gs_local(x, zone)) - epoch_us(x)) // 60000000 AS BIGINT);
CREATE MACRO gs_count(i, u) AS CAST(CASE u WHEN 'YEAR' THEN (datepart('year', i) * 12 + datepart('month', i)) // 12 WHEN 'QUARTER' THEN (datepart('year', i) * 12 + datepart('month', i)) // 3 WHEN 'MONTH' THEN (datepart('year', i) * 12 + datepart('month', i)) WHEN 'WEEK' THEN datepart('day', i) // 7 WHEN 'DAY' THEN datepart('day', i) ELSE (datepart('hour', i) * 3600000000 + datepart('minute', i) * 60000000 + datepart('microsecond', i)) // CAST(gs_unit(u) AS BIGINT) END AS VARCHAR) || ' ' || u;
CREATE MACRO gs_date_add(x DATE, i INTERVAL) AS CAST(gs_in_range(x + i) AS DATE), (x DATE, i INTERVAL, u VARCHAR) AS CAST(gs_in_range(x + i, 'Adding ' || gs_count(i, u) || ' to date ' || CAST(x AS VARCHAR) || ' causes overflow') AS DATE), (x TIMESTAMP, i INTERVAL) AS gs_in_range(x + i), (x TIMESTAMP, i INTERVAL, u VARCHAR) AS gs_datetime_add(x, i, u), (x TIMESTAMPTZ, i INTERVAL, u VARCHAR) AS gs_timestamp_add(x, i), (x TIMESTAMPTZ, i INTERVAL) AS gs_timestamp_add(x, i);
CREATE MACRO gs_date_sub(x DATE, i INTERVAL) AS CAST(gs_in_range(x - i) AS DATE), (x DATE, i INTERVAL, u VARCHAR) AS CAST(gs_in_range(x - i, 'Adding ' || gs_count(-i, u) || ' to date ' || CAST(x AS VARCHAR) || ' causes overflow') AS DATE), (x TIMESTAMP, i INTERVAL) AS gs_in_range(x - i), (x TIMESTAMP, i INTERVAL, u VARCHAR) AS gs_datetime_sub(x, i, u), (x TIMESTAMPTZ, i INTERVAL, u VARCHAR) AS gs_timestamp_sub(x, i), (x TIMESTAMPTZ, i INTERVAL) AS gs_timestamp_sub(x, i);
CREATE MACRO gs_datetime_add(x TIMESTAMP, i INTERVAL) AS gs_in_range(x + i), (x TIMESTAMP, i INTERVAL, u VARCHAR) AS gs_in_range(x + i, 'Adding ' || gs_count(i, u) || ' to datetime ' || CAST(x AS VARCHAR) || ' causes overflow');
CREATE MACRO gs_datetime_sub(x TIMESTAMP, i INTERVAL) AS gs_in_range(x - i), (x TIMESTAMP, i INTERVAL, u VARCHAR) AS gs_in_range(x - i, 'Subtracting ' || gs_count(i, u) || ' from datetime ' || CAST(x AS VARCHAR) || ' causes overflow');
CREATE MACRO gs_time_add(x TIME, i INTERVAL) AS x + i;
CREATE MACRO gs_time_sub(x TIME, i INTERVAL) AS x - i;
CREATE MACRO gs_week(x DATE, first BIGINT) AS x - CAST((dayofweek(x) - first + 7) % 7 AS INTEGER);
CREATE MACRO gs_trunc_date(x DATE, part VARCHAR) AS CASE WHEN part IN ('WEEK', 'WEEK(SUNDAY)') THEN gs_week(x, 0) WHEN part = 'WEEK(MONDAY)' THEN gs_week(x, 1) WHEN part = 'WEEK(TUESDAY)' THEN gs_week(x, 2) WHEN part = 'WEEK(WEDNESDAY)' THEN gs_week(x, 3) WHEN part = 'WEEK(THURSDAY)' THEN gs_week(x, 4)
  WHEN part = 'WEEK(FRIDAY)' THEN gs_week(x, 5) WHEN part = 'WEEK(SATURDAY)' THEN gs_week(x, 6) WHEN part = 'ISOWEEK' THEN gs_week(x, 1) WHEN part = 'ISOYEAR' THEN gs_week(make_date(isoyear(x), 1, 4), 1) WHEN part = 'DAY' THEN x WHEN part = 'MONTH' THEN CAST(date_trunc('month', x) AS DATE) WHEN part = 'QUARTER' THEN CAST(date_trunc('quarter', x) AS DATE) WHEN part = 'YEAR' THEN CAST(date_trunc('year', x) AS DATE) ELSE gs_py_error('DATE_TRUNC does not support the ' || part || ' date part') END;
CREATE MACRO gs_trunc_local(x TIMESTAMP, part VARCHAR) AS CASE WHEN part IN ('MICROSECOND', 'MILLISECOND', 'SECOND', 'MINUTE', 'HOUR') THEN date_trunc(CASE WHEN part IN ('MICROSECOND', 'MILLISECOND', 'SECOND', 'MINUTE', 'HOUR') THEN lower(part) ELSE 'day' END, x) ELSE CAST(gs_trunc_date(CAST(x AS DATE), part) AS TIMESTAMP) END;
CREATE MACRO gs_in_years(d DATE, x DATE, part VARCHAR) AS CASE WHEN d < DATE '0001-01-01' THEN gs_py_error('Truncating date ' || CAST(x AS VARCHAR) || ' to ' || part || ' resulted in an out of range date value: ' || CAST(d - DATE '1970-01-01' AS VARCHAR)) ELSE d END;
CREATE MACRO gs_date_trunc(x DATE, part VARCHAR) AS gs_in_years(gs_trunc_date(x, part), x, part), (x TIMESTAMP, part VARCHAR) AS gs_trunc_local(x, part), (x TIMESTAMPTZ, part VARCHAR) AS gs_trunc_local(x AT TIME ZONE 'UTC', part) AT TIME ZONE 'UTC';
CREATE MACRO gs_datetime_trunc(x TIMESTAMP, part VARCHAR) AS gs_trunc_local(x, part);
CREATE MACRO gs_timestamp_trunc(x TIMESTAMPTZ, part VARCHAR) AS gs_trunc_local(x AT TIME ZONE 'UTC', part) AT TIME ZONE 'UTC', (x TIMESTAMPTZ, part VARCHAR, zone VARCHAR) AS gs_instant(gs_trunc_local(gs_local(x, zone), part), zone), (x TIMESTAMP, part VARCHAR) AS gs_trunc_local(x, part);
CREATE MACRO gs_time_trunc(x TIME, part VARCHAR) AS CAST(date_trunc(lower(part), DATE '2000-01-01' + x) AS TIME);
CREATE MACRO gs_day_diff(a DATE, b DATE, part VARCHAR) AS CASE WHEN part IN ('ISOWEEK') OR starts_with(part, 'WEEK') THEN (gs_trunc_date(a, part) - gs_trunc_date(b, part)) // 7 WHEN part = 'ISOYEAR' THEN isoyear(a) - isoyear(b) WHEN part IN ('DAY', 'MONTH', 'QUARTER', 'YEAR') THEN date_diff(CASE WHEN part IN ('DAY', 'MONTH', 'QUARTER', 'YEAR') THEN lower(part) ELSE 'day' END, b, a) ELSE gs_py_error('DATE_DIFF does not support the ' || part || ' date part when the argument is DATE type') END;
CREATE MACRO gs_date_diff(a DATE, b DATE, part VARCHAR) AS gs_day_diff(a, b, part),
  (a TIMESTAMP, b TIMESTAMP, part VARCHAR) AS gs_datetime_diff(a, b, part), (a TIMESTAMPTZ, b TIMESTAMPTZ, part VARCHAR) AS gs_timestamp_diff(a, b, part);
CREATE MACRO gs_datetime_diff(a TIMESTAMP, b TIMESTAMP, part VARCHAR) AS CASE WHEN part IN ('MICROSECOND', 'MILLISECOND', 'SECOND', 'MINUTE', 'HOUR') THEN date_diff(CASE WHEN part IN ('MICROSECOND', 'MILLISECOND', 'SECOND', 'MINUTE', 'HOUR') THEN lower(part) ELSE 'day' END, b, a) ELSE gs_day_diff(CAST(a AS DATE), CAST(b AS DATE), part) END;
CREATE MACRO gs_unit(part) AS CASE part WHEN 'MICROSECOND' THEN 1 WHEN 'MILLISECOND' THEN 1000 WHEN 'SECOND' THEN 1000000 WHEN 'MINUTE' THEN 60000000 WHEN 'HOUR' THEN 3600000000 WHEN 'DAY' THEN 86400000000 ELSE gs_py_error('Unsupported timestamp part ' || part) END;
CREATE MACRO gs_timestamp_diff(a TIMESTAMPTZ, b TIMESTAMPTZ, part VARCHAR) AS gs_integer_div(epoch_us(a) - epoch_us(b), CAST(gs_unit(part) AS BIGINT)), (a TIMESTAMP, b TIMESTAMP, part VARCHAR) AS gs_datetime_diff(a, b, part);
CREATE MACRO gs_time_diff(a TIME, b TIME, part VARCHAR) AS date_diff(lower(part), DATE '2000-01-01' + b, DATE '2000-01-01' + a);
CREATE MACRO gs_last_day(x DATE) AS last_day(x), (x DATE, part VARCHAR) AS CASE WHEN part = 'MONTH' THEN last_day(x) WHEN part = 'YEAR' THEN make_date(year(x), 12, 31) WHEN part = 'QUARTER' THEN CAST(date_trunc('quarter', x) + INTERVAL 3 MONTH - INTERVAL 1 DAY AS DATE) WHEN part = 'ISOYEAR' THEN gs_week(make_date(isoyear(x) + 1, 1, 4), 1) - 1 ELSE gs_trunc_date(x, part) + 6 END,
  (x TIMESTAMP) AS last_day(CAST(x AS DATE)), (x TIMESTAMP, part VARCHAR) AS gs_last_day(CAST(x AS DATE), part);
CREATE MACRO gs_part(x TIMESTAMP, part VARCHAR) AS CASE part WHEN 'MICROSECOND' THEN datepart('microsecond', x) % 1000000 WHEN 'MILLISECOND' THEN datepart('millisecond', x) % 1000 WHEN 'SECOND' THEN datepart('second', x) WHEN 'MINUTE' THEN datepart('minute', x) WHEN 'HOUR' THEN datepart('hour', x)
  WHEN 'DAYOFWEEK' THEN dayofweek(x) + 1 WHEN 'DAY' THEN day(x) WHEN 'DAYOFYEAR' THEN dayofyear(x) WHEN 'ISOWEEK' THEN weekofyear(x) WHEN 'MONTH' THEN month(x) WHEN 'QUARTER' THEN quarter(x) WHEN 'YEAR' THEN year(x) WHEN 'ISOYEAR' THEN isoyear(x)
  ELSE CASE WHEN starts_with(part, 'WEEK') THEN (gs_trunc_date(CAST(x AS DATE), part) - gs_trunc_date(make_date(year(x), 1, 1), part)) // 7 + CASE WHEN gs_trunc_date(make_date(year(x), 1, 1), part) = make_date(year(x), 1, 1) THEN 1 ELSE 0 END ELSE gs_py_error('Unsupported part ' || part) END END;
CREATE MACRO gs_extract(x DATE, part VARCHAR) AS CASE WHEN part IN ('HOUR', 'MINUTE', 'SECOND', 'MILLISECOND', 'MICROSECOND') THEN gs_py_error('EXTRACT from DATE does not support the ' || part || ' date part') ELSE CAST(gs_part(CAST(x AS TIMESTAMP), part) AS BIGINT) END, (x TIMESTAMP, part VARCHAR) AS CAST(gs_part(x, part) AS BIGINT), (x TIMESTAMPTZ, part VARCHAR) AS CAST(gs_part(x AT TIME ZONE 'UTC', part) AS BIGINT), (x TIME, part VARCHAR) AS CASE WHEN part IN ('HOUR', 'MINUTE', 'SECOND', 'MILLISECOND', 'MICROSECOND') THEN CAST(gs_part(DATE '2000-01-01' + x, part) AS BIGINT) ELSE gs_py_error('EXTRACT from TIME does not support the ' || part || ' date part') END,
  (x INTERVAL, part VARCHAR) AS CASE part WHEN 'YEAR' THEN datepart('year', x) WHEN 'MONTH' THEN datepart('month', x) WHEN 'DAY' THEN datepart('day', x) WHEN 'HOUR' THEN datepart('hour', x) WHEN 'MINUTE' THEN datepart('minute', x) WHEN 'SECOND' THEN datepart('second', x) WHEN 'MILLISECOND' THEN datepart('millisecond', x) % 1000 WHEN 'MICROSECOND' THEN datepart('microsecond', x) % 1000000 END;
CREATE MACRO gs_unix_date(x DATE) AS x - DATE '1970-01-01';
CREATE MACRO gs_date_from_unix_date(n BIGINT) AS CASE WHEN n NOT BETWEEN -719162 AND 2932896 THEN gs_py_error('DATE_FROM_UNIX_DATE range is -719162 to 2932896 but saw ' || CAST(n AS VARCHAR)) ELSE DATE '1970-01-01' + TRY_CAST(n AS INTEGER) END;
CREATE MACRO gs_unix_seconds(x TIMESTAMPTZ) AS gs_integer_div(epoch_us(x) - ((epoch_us(x) % 1000000 + 1000000) % 1000000), CAST(1000000 AS BIGINT));
CREATE MACRO gs_unix_millis(x TIMESTAMPTZ) AS gs_integer_div(epoch_us(x) - ((epoch_us(x) % 1000 + 1000) % 1000), CAST(1000 AS BIGINT));
CREATE MACRO gs_unix_micros(x TIMESTAMPTZ) AS epoch_us(x);
CREATE MACRO gs_instant_of(n, micros) AS CASE WHEN micros NOT BETWEEN -62135596800000000 AND 253402300799999999 THEN gs_py_error('Input value ' || CAST(n AS VARCHAR) || ' cannot be converted into a TIMESTAMP, because it would be out of the allowed range between -62135596800000000 to 253402300799999999 (microseconds)') ELSE make_timestamptz(TRY_CAST(micros AS BIGINT)) END;
CREATE MACRO gs_timestamp_seconds(n BIGINT) AS gs_instant_of(n, CAST(n AS HUGEINT) * 1000000);
CREATE MACRO gs_timestamp_millis(n BIGINT) AS gs_instant_of(n, CAST(n AS HUGEINT) * 1000);
CREATE MACRO gs_timestamp_micros(n BIGINT) AS gs_instant_of(n, n);
CREATE MACRO gs_current_date() AS CAST(now() AT TIME ZONE 'UTC' AS DATE), (zone VARCHAR) AS CAST(gs_local(now(), zone) AS DATE);
CREATE MACRO gs_current_timestamp() AS now();
CREATE MACRO gs_current_datetime() AS now() AT TIME ZONE 'UTC', (zone VARCHAR) AS gs_local(now(), zone);
CREATE MACRO gs_current_time() AS CAST(now() AT TIME ZONE 'UTC' AS TIME), (zone VARCHAR) AS CAST(gs_local(now(), zone) AS TIME);
CREATE MACRO gs_format_date(f VARCHAR, x DATE) AS gs_py_strftime(f, CAST(x AS TIMESTAMP), 0, 'UTC', 'DATE'), (f VARCHAR, x TIMESTAMP) AS gs_py_strftime(f, x, 0, 'UTC', 'DATE');
CREATE MACRO gs_format_datetime(f VARCHAR, x TIMESTAMP) AS gs_py_strftime(f, x, 0, 'UTC', 'DATETIME'), (f VARCHAR, x DATE) AS gs_py_strftime(f, CAST(x AS TIMESTAMP), 0, 'UTC', 'DATETIME');
CREATE MACRO gs_format_time(f VARCHAR, x TIME) AS gs_py_strftime(f, DATE '1970-01-01' + x, 0, 'UTC', 'TIME');
CREATE MACRO gs_format_timestamp(f VARCHAR, x TIMESTAMPTZ) AS gs_py_strftime(f, x AT TIME ZONE 'UTC', 0, 'UTC', 'TIMESTAMP'), (f VARCHAR, x TIMESTAMPTZ, zone VARCHAR) AS gs_py_strftime(f, gs_local(x, zone), gs_offset(x, zone), zone, 'TIMESTAMP');
CREATE MACRO gs_parse_date(f VARCHAR, x VARCHAR) AS CAST(gs_py_strptime(f, x, 'DATE', 'UTC') AS DATE);
CREATE MACRO gs_parse_datetime(f VARCHAR, x VARCHAR) AS gs_py_strptime(f, x, 'DATETIME', 'UTC');
CREATE MACRO gs_parse_time(f VARCHAR, x VARCHAR) AS CAST(gs_py_strptime(f, x, 'TIME', 'UTC') AS TIME);
CREATE MACRO gs_parse_timestamp(f VARCHAR, x VARCHAR) AS gs_py_strptime(f, x, 'TIMESTAMP', 'UTC') AT TIME ZONE 'UTC', (f VARCHAR, x VARCHAR, zone VARCHAR) AS gs_py_strptime(f, x, 'TIMESTAMP', zone) AT TIME ZONE 'UTC';
CREATE MACRO gs_make_interval(years, months, days, hours, minutes, seconds) AS to_months(CAST(years * 12 + months AS INTEGER)) + to_days(CAST(days AS INTEGER)) + to_microseconds(hours * 3600000000 + minutes * 60000000 + seconds * 1000000);
CREATE MACRO gs_generate_date_array(a DATE, b DATE) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_transform(range(a, CAST(b AS TIMESTAMP) + INTERVAL 1 DAY, INTERVAL 1 DAY), lambda d: CAST(d AS DATE)) END, (a DATE, b DATE, i INTERVAL) AS CASE WHEN a IS NULL OR b IS NULL OR i IS NULL THEN NULL WHEN a + i = a THEN gs_py_error('Sequence step cannot be 0.') ELSE list_transform(generate_series(CAST(a AS TIMESTAMP), CAST(b AS TIMESTAMP), i), lambda d: CAST(d AS DATE)) END;
CREATE MACRO gs_date_bucket(x DATE, i INTERVAL) AS gs_date_bucket(x, i, DATE '1950-01-01'), (x DATE, i INTERVAL, o DATE) AS CAST(time_bucket(i, x, o) AS DATE), (x TIMESTAMP, i INTERVAL) AS gs_datetime_bucket(x, i);
CREATE MACRO gs_datetime_bucket(x TIMESTAMP, i INTERVAL) AS gs_datetime_bucket(x, i, TIMESTAMP '1950-01-01 00:00:00'), (x TIMESTAMP, i INTERVAL, o TIMESTAMP) AS time_bucket(i, x, o);
CREATE MACRO gs_timestamp_bucket(x TIMESTAMPTZ, i INTERVAL) AS time_bucket(i, x, TIMESTAMPTZ '1950-01-01 00:00:00+00'), (x TIMESTAMPTZ, i INTERVAL, o TIMESTAMPTZ) AS time_bucket(i, x, o);
CREATE MACRO gs_generate_timestamp_array(a TIMESTAMPTZ, b TIMESTAMPTZ, i INTERVAL) AS CASE WHEN a IS NULL OR b IS NULL OR i IS NULL THEN NULL WHEN a + i = a THEN gs_py_error('Sequence step cannot be 0.') ELSE generate_series(a, b, i) END;
CREATE MACRO gs_numeric_steps(a, b, s) AS CASE WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL WHEN s = 0 THEN gs_py_error('Sequence step cannot be 0.') ELSE list_transform(generate_series(0, CAST(floor(CAST(b - a AS DOUBLE) / CAST(s AS DOUBLE) + 1e-9) AS BIGINT)), lambda n: CAST(a + s * CAST(n AS DECIMAL(28,0)) AS DECIMAL(38,9))) END;
CREATE MACRO gs_generate_array(a BIGINT, b BIGINT) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE generate_series(a, b) END, (a BIGINT, b BIGINT, s BIGINT) AS CASE WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL WHEN s = 0 THEN gs_py_error('Sequence step cannot be 0.') ELSE generate_series(a, b, s) END,
  (a DOUBLE, b DOUBLE, s DOUBLE) AS list_transform(generate_series(0, CAST(floor((b - a) / s + 1e-9) AS BIGINT)), lambda n: a + n * s), (a DOUBLE, b DOUBLE) AS gs_generate_array(a, b, CAST(1 AS DOUBLE)), (a DECIMAL(38,9), b DECIMAL(38,9)) AS gs_numeric_steps(a, b, CAST(1 AS DECIMAL(38,9))), (a DECIMAL(38,9), b DECIMAL(38,9), s DECIMAL(38,9)) AS gs_numeric_steps(a, b, s), (a DECIMAL(38,9), b BIGINT) AS gs_numeric_steps(a, CAST(b AS DECIMAL(38,9)), CAST(1 AS DECIMAL(38,9)));

-- strings and bytes

CREATE MACRO gs_length(x VARCHAR) AS length(x), (x BLOB) AS octet_length(x);
CREATE MACRO gs_byte_length(x VARCHAR) AS octet_length(encode(x)), (x BLOB) AS octet_length(x);
CREATE MACRO gs_upper(x VARCHAR) AS CASE WHEN strlen(x) = length(x) THEN upper(x) ELSE gs_py_upper(x) END, (x BLOB) AS gs_py_bytes_case(x, 'UPPER');
CREATE MACRO gs_lower(x VARCHAR) AS CASE WHEN strlen(x) = length(x) THEN lower(x) ELSE gs_py_lower(x) END, (x BLOB) AS gs_py_bytes_case(x, 'LOWER');
CREATE MACRO gs_substr(x VARCHAR, p BIGINT) AS CASE WHEN p < 0 THEN substring(x, greatest(length(x) + p + 1, 1)) ELSE substring(x, greatest(p, 1)) END, (x VARCHAR, p BIGINT, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Third argument in SUBSTR() cannot be negative') WHEN p < 0 THEN substring(x, greatest(length(x) + p + 1, 1), n) ELSE substring(x, greatest(p, 1), n) END,
  (x BLOB, p BIGINT) AS gs_py_bytes_substr(x, p, CAST(9223372036854775807 AS BIGINT)), (x BLOB, p BIGINT, n BIGINT) AS gs_py_bytes_substr(x, p, n);
CREATE MACRO gs_left(x VARCHAR, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Second argument in LEFT() cannot be negative') ELSE substring(x, 1, n) END, (x BLOB, n BIGINT) AS gs_py_bytes_substr(x, CAST(1 AS BIGINT), n);
CREATE MACRO gs_right(x VARCHAR, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Second argument in RIGHT() cannot be negative') ELSE right(x, n) END, (x BLOB, n BIGINT) AS gs_py_bytes_substr(x, greatest(octet_length(x) - n + 1, 1), n);
CREATE MACRO gs_trim(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_py_trim(x, NULL, 'BOTH') END, (x VARCHAR, c VARCHAR) AS trim(x, c), (x BLOB, c BLOB) AS gs_py_bytes_trim(x, c, 'BOTH');
CREATE MACRO gs_ltrim(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_py_trim(x, NULL, 'LEFT') END, (x VARCHAR, c VARCHAR) AS ltrim(x, c), (x BLOB, c BLOB) AS gs_py_bytes_trim(x, c, 'LEFT');
CREATE MACRO gs_rtrim(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_py_trim(x, NULL, 'RIGHT') END, (x VARCHAR, c VARCHAR) AS rtrim(x, c), (x BLOB, c BLOB) AS gs_py_bytes_trim(x, c, 'RIGHT');
CREATE MACRO gs_replace(x VARCHAR, a VARCHAR, b VARCHAR) AS CASE WHEN a = '' THEN x ELSE replace(x, a, b) END, (x BLOB, a BLOB, b BLOB) AS gs_py_bytes_replace(x, a, b);
CREATE MACRO gs_reverse(x VARCHAR) AS array_to_string(list_reverse(string_split(x, '')), ''), (x BLOB) AS gs_py_bytes_reverse(x);
CREATE MACRO gs_repeat(x VARCHAR, n BIGINT) AS CASE WHEN n < 0 THEN gs_py_error('Second argument in REPEAT() cannot be negative') WHEN octet_length(encode(x)) * n > 1048576 THEN gs_py_error('Output of REPEAT exceeds max allowed output size of 1MB') ELSE repeat(x, n) END, (x BLOB, n BIGINT) AS CASE WHEN n < 0 THEN CAST(gs_py_error('Second argument in REPEAT() cannot be negative') AS BLOB) WHEN octet_length(x) * n > 1048576 THEN CAST(gs_py_error('Output of REPEAT exceeds max allowed output size of 1MB') AS BLOB) ELSE repeat(x, n) END;
CREATE MACRO gs_lpad(x VARCHAR, n BIGINT) AS gs_lpad(x, n, ' '), (x VARCHAR, n BIGINT, p VARCHAR) AS CASE WHEN p = '' THEN gs_py_error('Third argument (pad pattern) for LPAD/RPAD cannot be empty') WHEN n < 0 THEN gs_py_error('Second argument in LPAD() cannot be negative') WHEN n > 1048576 THEN gs_py_error('Output of LPAD/RPAD exceeds max allowed output size of 1MB') WHEN n <= length(x) THEN substring(x, 1, n) ELSE lpad(x, CAST(n AS INTEGER), p) END, (x BLOB, n BIGINT) AS gs_py_bytes_pad(x, n, encode(' '), 'LEFT'), (x BLOB, n BIGINT, p BLOB) AS gs_py_bytes_pad(x, n, p, 'LEFT');
CREATE MACRO gs_rpad(x VARCHAR, n BIGINT) AS gs_rpad(x, n, ' '), (x VARCHAR, n BIGINT, p VARCHAR) AS CASE WHEN p = '' THEN gs_py_error('Third argument (pad pattern) for LPAD/RPAD cannot be empty') WHEN n < 0 THEN gs_py_error('Second argument in RPAD() cannot be negative') WHEN n > 1048576 THEN gs_py_error('Output of LPAD/RPAD exceeds max allowed output size of 1MB') WHEN n <= length(x) THEN substring(x, 1, n) ELSE rpad(x, CAST(n AS INTEGER), p) END, (x BLOB, n BIGINT) AS gs_py_bytes_pad(x, n, encode(' '), 'RIGHT'), (x BLOB, n BIGINT, p BLOB) AS gs_py_bytes_pad(x, n, p, 'RIGHT');
CREATE MACRO gs_starts_with(x VARCHAR, y VARCHAR) AS starts_with(x, y), (x BLOB, y BLOB) AS starts_with(hex(x), hex(y));
CREATE MACRO gs_ends_with(x VARCHAR, y VARCHAR) AS ends_with(x, y), (x BLOB, y BLOB) AS ends_with(hex(x), hex(y));
CREATE MACRO gs_strpos(x VARCHAR, y VARCHAR) AS strpos(x, y), (x BLOB, y BLOB) AS gs_py_bytes_instr(x, y, CAST(1 AS BIGINT), CAST(1 AS BIGINT));
CREATE MACRO gs_instr(x VARCHAR, y VARCHAR) AS gs_py_instr(x, y, CAST(1 AS BIGINT), CAST(1 AS BIGINT)), (x VARCHAR, y VARCHAR, p BIGINT) AS gs_py_instr(x, y, p, CAST(1 AS BIGINT)), (x VARCHAR, y VARCHAR, p BIGINT, n BIGINT) AS gs_py_instr(x, y, p, n), (x BLOB, y BLOB) AS gs_py_bytes_instr(x, y, CAST(1 AS BIGINT), CAST(1 AS BIGINT)), (x BLOB, y BLOB, p BIGINT) AS gs_py_bytes_instr(x, y, p, CAST(1 AS BIGINT)), (x BLOB, y BLOB, p BIGINT, n BIGINT) AS gs_py_bytes_instr(x, y, p, n);
-- NULLs are the least values, then NaNs. A quantile between a NULL and a value is the value.
CREATE MACRO gs_nulls_sorted(a) AS list_sort(a, 'ASC', 'NULLS FIRST');
CREATE MACRO gs_floats_sorted(a) AS list_concat(list_filter(a, lambda e: e IS NULL), list_filter(a, lambda e: isnan(CAST(e AS DOUBLE))), list_sort(list_filter(a, lambda e: NOT isnan(CAST(e AS DOUBLE)))));
CREATE MACRO gs_quantile_disc(a, p) AS gs_place_disc(gs_nulls_sorted(a), p);
CREATE MACRO gs_quantiles_disc(a, n) AS list_transform(range(0, n + 1), lambda i: gs_nulls_sorted(a)[greatest(1, CAST(ceil(CAST(i AS DOUBLE) / n * len(a)) AS BIGINT))]);
CREATE MACRO gs_between_places(low, high, share) AS CASE WHEN low IS NULL OR high IS NULL THEN coalesce(low, high) WHEN share = 0 THEN low ELSE low * (1 - share) + high * share END;
CREATE MACRO gs_place_cont(a, p) AS gs_between_places(CAST(a[1 + CAST(floor(p * (len(a) - 1)) AS BIGINT)] AS DOUBLE), CAST(a[1 + CAST(ceil(p * (len(a) - 1)) AS BIGINT)] AS DOUBLE), p * (len(a) - 1) - floor(p * (len(a) - 1)));
-- the first place whose share of all is not below p, whose binary digits all count: 0.4 is more than two fifths
CREATE MACRO gs_place_of(p, n) AS greatest(1, CAST((CAST(p * 1152921504606846976.0 AS HUGEINT) * n + 1152921504606846975) // 1152921504606846976 AS BIGINT));
CREATE MACRO gs_place_disc(a, p) AS a[gs_place_of(p, len(a))];
CREATE MACRO gs_quantile_cont(a, p) AS gs_place_cont(gs_nulls_sorted(a), p);
CREATE MACRO gs_float_quantile_cont(a, p) AS gs_place_cont(gs_floats_sorted(a), p);
CREATE MACRO gs_float_quantile_disc(a, p) AS gs_place_disc(gs_floats_sorted(a), p);
CREATE MACRO gs_contains_substr(x VARCHAR, y VARCHAR) AS contains(gs_py_normalize(x, 'NFKC_CASEFOLD'), gs_py_normalize(y, 'NFKC_CASEFOLD')), (x JSON, y VARCHAR) AS gs_contains_substr(x, y, 'JSON_VALUES'), (x, y VARCHAR) AS gs_contains_substr(x, y, 'JSON_VALUES'), (x, y VARCHAR, scope VARCHAR) AS gs_py_contains_value(CAST(to_json(x) AS VARCHAR), typeof(x), y, scope);
CREATE MACRO gs_split(x VARCHAR) AS gs_split(x, ','), (x VARCHAR, d VARCHAR) AS CASE WHEN d IS NULL THEN NULL WHEN x = '' THEN [''] ELSE string_split(x, d) END, (x BLOB, d BLOB) AS gs_py_bytes_split(x, d);
CREATE MACRO gs_initcap(x VARCHAR) AS CASE WHEN x IS NOT NULL THEN gs_py_initcap(x, NULL) END, (x VARCHAR, d VARCHAR) AS CASE WHEN d IS NOT NULL THEN gs_py_initcap(x, d) END;
CREATE MACRO gs_translate(x VARCHAR, a VARCHAR, b VARCHAR) AS gs_py_translate(x, a, b), (x BLOB, a BLOB, b BLOB) AS gs_py_bytes_translate(x, a, b);
CREATE MACRO gs_ascii(x VARCHAR) AS CASE WHEN x = '' THEN CAST(0 AS BIGINT) WHEN ascii(x) > 127 THEN gs_py_error('Argument to ASCII is not a structurally valid ASCII string: ''' || x || '''') ELSE CAST(ascii(x) AS BIGINT) END;
CREATE MACRO gs_unicode(x VARCHAR) AS CASE WHEN x = '' THEN CAST(0 AS BIGINT) ELSE CAST(unicode(x) AS BIGINT) END;
CREATE MACRO gs_chr(n BIGINT) AS chr(CAST(n AS INTEGER));
CREATE MACRO gs_to_hex(x BLOB) AS lower(hex(x));
CREATE MACRO gs_from_hex(x VARCHAR) AS unhex(CASE WHEN length(x) % 2 = 1 THEN '0' || x ELSE x END);
CREATE MACRO gs_to_base64(x BLOB) AS to_base64(x);
CREATE MACRO gs_from_base64(x VARCHAR) AS from_base64(x);
CREATE MACRO gs_md5(x VARCHAR) AS unhex(md5(x)), (x BLOB) AS unhex(md5(x));
CREATE MACRO gs_sha1(x VARCHAR) AS unhex(sha1(x)), (x BLOB) AS unhex(sha1(x));
CREATE MACRO gs_sha256(x VARCHAR) AS unhex(sha256(x)), (x BLOB) AS unhex(sha256(x));
CREATE MACRO gs_sha512(x VARCHAR) AS gs_py_sha512(encode(x)), (x BLOB) AS gs_py_sha512(x);
CREATE MACRO gs_to_code_points(x VARCHAR) AS CASE WHEN x = '' THEN CAST([] AS BIGINT[]) ELSE list_transform(string_split_regex(x, ''), lambda c: CAST(unicode(c) AS BIGINT)) END, (x BLOB) AS gs_py_byte_points(x);
CREATE MACRO gs_code_points_to_string(a) AS gs_py_points_string(a);
CREATE MACRO gs_code_points_to_bytes(a) AS gs_py_points_bytes(a);
CREATE MACRO gs_normalize(x VARCHAR) AS nfc_normalize(x), (x VARCHAR, form VARCHAR) AS gs_py_normalize(x, form);
CREATE MACRO gs_normalize_and_casefold(x VARCHAR) AS gs_py_normalize(x, 'NFC_CASEFOLD'), (x VARCHAR, form VARCHAR) AS gs_py_normalize(x, form || '_CASEFOLD');
CREATE MACRO gs_soundex(x VARCHAR) AS gs_py_soundex(x);
CREATE MACRO gs_edit_distance(a VARCHAR, b VARCHAR) AS levenshtein(a, b), (a VARCHAR, b VARCHAR, m BIGINT) AS CASE WHEN m < 0 THEN gs_py_error('Max distance must be non-negative') ELSE least(levenshtein(a, b), m) END, (a BLOB, b BLOB) AS levenshtein(gs_py_latin(a), gs_py_latin(b)), (a BLOB, b BLOB, m BIGINT) AS least(levenshtein(gs_py_latin(a), gs_py_latin(b)), m);
CREATE MACRO gs_safe_convert_bytes_to_string(x BLOB) AS gs_py_safe_text(x);
CREATE MACRO gs_regexp_contains(x VARCHAR, r VARCHAR) AS regexp_matches(x, r), (x BLOB, r BLOB) AS regexp_matches(gs_py_latin(x), gs_py_latin(r));
CREATE MACRO gs_regexp_extract(x VARCHAR, r VARCHAR) AS gs_py_regexp_extract(x, r, CAST(1 AS BIGINT), CAST(1 AS BIGINT)), (x VARCHAR, r VARCHAR, p BIGINT) AS gs_py_regexp_extract(x, r, p, CAST(1 AS BIGINT)), (x VARCHAR, r VARCHAR, p BIGINT, n BIGINT) AS gs_py_regexp_extract(x, r, p, n), (x BLOB, r BLOB) AS gs_regexp_extract(x, r, 1, 1), (x BLOB, r BLOB, p BIGINT) AS gs_regexp_extract(x, r, p, 1), (x BLOB, r BLOB, p BIGINT, n BIGINT) AS gs_py_from_latin(gs_py_regexp_extract(gs_py_latin(x), gs_py_latin(r), p, n));
CREATE MACRO gs_regexp_extract_all(x VARCHAR, r VARCHAR) AS gs_py_regexp_all(x, r), (x BLOB, r BLOB) AS list_transform(gs_py_regexp_all(gs_py_latin(x), gs_py_latin(r)), lambda e: gs_py_from_latin(e));
CREATE MACRO gs_regexp_replace(x VARCHAR, r VARCHAR, y VARCHAR) AS regexp_replace(x, r, y, 'g'), (x BLOB, r BLOB, y BLOB) AS gs_py_from_latin(regexp_replace(gs_py_latin(x), gs_py_latin(r), gs_py_latin(y), 'g'));
CREATE MACRO gs_regexp_instr(x VARCHAR, r VARCHAR) AS gs_py_regexp_instr(x, r, CAST(1 AS BIGINT), CAST(1 AS BIGINT), CAST(0 AS BIGINT)), (x VARCHAR, r VARCHAR, p BIGINT) AS gs_py_regexp_instr(x, r, p, CAST(1 AS BIGINT), CAST(0 AS BIGINT)), (x VARCHAR, r VARCHAR, p BIGINT, n BIGINT) AS gs_py_regexp_instr(x, r, p, n, CAST(0 AS BIGINT)), (x VARCHAR, r VARCHAR, p BIGINT, n BIGINT, e BIGINT) AS gs_py_regexp_instr(x, r, p, n, e), (x BLOB, r BLOB) AS gs_regexp_instr(gs_py_latin(x), gs_py_latin(r)), (x BLOB, r BLOB, p BIGINT) AS gs_regexp_instr(gs_py_latin(x), gs_py_latin(r), p), (x BLOB, r BLOB, p BIGINT, n BIGINT) AS gs_regexp_instr(gs_py_latin(x), gs_py_latin(r), p, n), (x BLOB, r BLOB, p BIGINT, n BIGINT, e BIGINT) AS gs_regexp_instr(gs_py_latin(x), gs_py_latin(r), p, n, e);

-- arrays

CREATE MACRO gs_in_list(a, x) AS CASE WHEN list_contains(a, x) THEN true WHEN len(list_filter(a, lambda e: e IS NULL)) > 0 THEN NULL WHEN x IS NULL AND len(a) > 0 THEN NULL ELSE coalesce(list_contains(a, x), false) END;
CREATE MACRO gs_one_is(m, wanted) AS CASE WHEN coalesce(len(m), 0) = 0 THEN false WHEN list_contains(m, wanted) THEN true WHEN len(list_filter(m, lambda e: e IS NULL)) > 0 THEN NULL ELSE false END;
CREATE MACRO gs_like_any(x VARCHAR, l VARCHAR[]) AS gs_one_is(list_transform(l, lambda p: x LIKE p ESCAPE '\'), true), (x BLOB, l BLOB[]) AS gs_one_is(list_transform(l, lambda p: gs_py_latin(x) LIKE gs_py_latin(p) ESCAPE '\'), true);
CREATE MACRO gs_like_all(x VARCHAR, l VARCHAR[]) AS NOT gs_one_is(list_transform(l, lambda p: x LIKE p ESCAPE '\'), false), (x BLOB, l BLOB[]) AS NOT gs_one_is(list_transform(l, lambda p: gs_py_latin(x) LIKE gs_py_latin(p) ESCAPE '\'), false);
CREATE MACRO gs_not_like_any(x VARCHAR, l VARCHAR[]) AS gs_one_is(list_transform(l, lambda p: x LIKE p ESCAPE '\'), false), (x BLOB, l BLOB[]) AS gs_one_is(list_transform(l, lambda p: gs_py_latin(x) LIKE gs_py_latin(p) ESCAPE '\'), false);
CREATE MACRO gs_not_like_all(x VARCHAR, l VARCHAR[]) AS NOT gs_one_is(list_transform(l, lambda p: x LIKE p ESCAPE '\'), true), (x BLOB, l BLOB[]) AS NOT gs_one_is(list_transform(l, lambda p: gs_py_latin(x) LIKE gs_py_latin(p) ESCAPE '\'), true);
CREATE MACRO gs_array_length(a) AS CAST(len(a) AS BIGINT);
CREATE MACRO gs_array_concat(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_concat(a, b) END;
CREATE MACRO gs_array_reverse(a) AS list_reverse(a);
CREATE MACRO gs_array_to_string(a, d) AS CASE WHEN a IS NULL THEN NULL ELSE coalesce(array_to_string(list_filter(a, lambda e: e IS NOT NULL), d), '') END, (a, d, n) AS CASE WHEN a IS NULL THEN NULL ELSE coalesce(array_to_string(list_transform(a, lambda e: coalesce(e, n)), d), '') END, (a BLOB[], d BLOB) AS gs_py_bytes_join(a, d);
CREATE MACRO gs_array_first(a) AS CASE WHEN len(a) = 0 THEN gs_py_error('ARRAY_FIRST cannot get the first element of an empty array') ELSE a[1] END;
CREATE MACRO gs_array_last(a) AS CASE WHEN len(a) = 0 THEN gs_py_error('ARRAY_LAST cannot get the last element of an empty array') ELSE a[-1] END;
CREATE MACRO gs_array_slice(a, s, e) AS CASE WHEN a IS NULL OR s IS NULL OR e IS NULL THEN NULL ELSE gs_slice(a, CASE WHEN s < 0 THEN len(a) + s ELSE s END, CASE WHEN e < 0 THEN len(a) + e ELSE e END) END;
CREATE MACRO gs_slice(a, s, e) AS CASE WHEN e < 0 OR s > e OR s >= len(a) THEN list_slice(a, 1, 0) ELSE list_slice(a, greatest(s, 0) + 1, e + 1) END;
CREATE MACRO gs_array_includes(a, x) AS CASE WHEN a IS NULL OR x IS NULL THEN NULL ELSE list_contains(a, x) END;
CREATE MACRO gs_array_is_distinct(a) AS len(list_distinct(list_filter(a, lambda e: e IS NOT NULL))) + CASE WHEN len(a) > len(list_filter(a, lambda e: e IS NOT NULL)) THEN 1 ELSE 0 END = len(a);
CREATE MACRO gs_array_min(a DOUBLE[]) AS gs_least_float(list_min(a), list_max(a)), (a BIGINT[]) AS list_min(a), (a DECIMAL(38,9)[]) AS list_min(a), (a) AS list_min(a);
CREATE MACRO gs_array_max(a) AS list_max(a);
CREATE MACRO gs_array_sum(a BIGINT[]) AS CAST(list_sum(a) AS BIGINT), (a DOUBLE[]) AS list_sum(a), (a DECIMAL(38,9)[]) AS CAST(list_sum(a) AS DECIMAL(38,9));
CREATE MACRO gs_array_avg(a) AS list_avg(a);
CREATE MACRO gs_array_includes_any(a, b) AS list_has_any(a, b);
CREATE MACRO gs_array_includes_all(a, b) AS CASE WHEN len(list_filter(b, lambda e: e IS NULL)) > 0 AND a IS NOT NULL THEN false ELSE list_has_all(a, b) END;
CREATE MACRO gs_at(a, i, first) AS CASE WHEN i IS NULL OR a IS NULL THEN NULL WHEN i - first < 0 OR i - first >= len(a) THEN gs_py_error('Array index ' || i || ' is out of bounds') ELSE a[i - first + 1] END;
CREATE MACRO gs_at_safe(a, i, first) AS CASE WHEN i IS NULL OR i - first < 0 OR i - first >= len(a) THEN NULL ELSE a[i - first + 1] END;
-- `s` is a[1:1], whose type tells JSON (a text to DuckDB) from an array; an array would be cast to JSON otherwise.
CREATE MACRO gs_subscript(a, s VARCHAR, i BIGINT) AS json_extract(a, '$[' || i || ']'), (a, s VARCHAR, i VARCHAR) AS json_extract(a, '$."' || i || '"'), (a, s VARCHAR[], i) AS gs_at(a, i, 0), (a, s, i) AS gs_at(a, i, 0);

-- JSON

CREATE MACRO gs_path(p) AS gs_py_path(p);
CREATE MACRO gs_json_value(j JSON) AS gs_json_value(j, '$'), (j JSON, p VARCHAR) AS CASE WHEN json_type(j, gs_path(p)) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(j, gs_path(p)) END, (j VARCHAR) AS gs_json_value(TRY_CAST(j AS JSON), '$'), (j VARCHAR, p VARCHAR) AS gs_json_value(TRY_CAST(j AS JSON), p);
CREATE MACRO gs_json_query(j JSON) AS j, (j JSON, p VARCHAR) AS CASE WHEN contains(split_part(p, '$', 1), 'lax') THEN CAST(gs_py_json_lax(CAST(j AS VARCHAR), p) AS JSON) ELSE json_extract(j, gs_path(CASE WHEN contains(split_part(p, '$', 1), 'lax') THEN '$' ELSE p END)) END, (j VARCHAR) AS gs_json_query(j, '$'), (j VARCHAR, p VARCHAR) AS CASE WHEN json_type(TRY_CAST(j AS JSON), gs_path(p)) = 'NULL' THEN NULL ELSE CAST(json_extract(TRY_CAST(j AS JSON), gs_path(p)) AS VARCHAR) END;
CREATE MACRO gs_json_array(j JSON, p VARCHAR) AS CASE WHEN json_type(j, gs_path(p)) = 'ARRAY' THEN CAST(json_extract(j, gs_path(p)) AS JSON[]) END;
CREATE MACRO gs_json_query_array(j JSON) AS gs_json_query_array(j, '$'), (j JSON, p VARCHAR) AS list_transform(gs_json_array(j, p), lambda e: coalesce(e, CAST('null' AS JSON))), (j VARCHAR) AS list_transform(gs_json_array(TRY_CAST(j AS JSON), '$'), lambda e: coalesce(CAST(e AS VARCHAR), 'null')), (j VARCHAR, p VARCHAR) AS list_transform(gs_json_array(TRY_CAST(j AS JSON), p), lambda e: coalesce(CAST(e AS VARCHAR), 'null'));
CREATE MACRO gs_json_scalars(a) AS CASE WHEN len(list_filter(a, lambda e: json_type(e) IN ('OBJECT', 'ARRAY'))) > 0 THEN NULL ELSE list_transform(a, lambda e: json_extract_string(e, '$')) END;
CREATE MACRO gs_json_value_array(j JSON) AS gs_json_value_array(j, '$'), (j JSON, p VARCHAR) AS gs_json_scalars(gs_json_array(j, p)), (j VARCHAR) AS gs_json_value_array(TRY_CAST(j AS JSON), '$'), (j VARCHAR, p VARCHAR) AS gs_json_value_array(TRY_CAST(j AS JSON), p);
CREATE MACRO gs_parse_json(x VARCHAR) AS CASE WHEN x IS NULL THEN NULL ELSE CAST(gs_py_json(x, 'exact') AS JSON) END, (x VARCHAR, mode VARCHAR) AS CAST(gs_py_json(x, mode) AS JSON);
CREATE MACRO gs_to_json(x GEOMETRY, w) AS CAST(coalesce(gs_py_st_asgeojson(x, CAST(15 AS BIGINT)), 'null') AS JSON), (x, w) AS CASE WHEN typeof(x) IN ('VARCHAR', 'JSON', 'BOOLEAN') THEN coalesce(to_json(x), CAST('null' AS JSON)) ELSE CAST(gs_py_to_json(CAST(to_json(x) AS VARCHAR), typeof(x), w) AS JSON) END;
CREATE MACRO gs_to_json_string(x GEOMETRY, p) AS coalesce(gs_py_st_asgeojson(x, CAST(15 AS BIGINT)), 'null'), (x, p) AS gs_py_json_string(CAST(to_json(x) AS VARCHAR), typeof(x), p);
CREATE MACRO gs_json_object(k VARCHAR, v) AS json_object(k, gs_to_json(v, false)), (k VARCHAR[], v) AS CAST(gs_py_json_object(k, CAST(to_json(v) AS VARCHAR), typeof(v)) AS JSON);
CREATE MACRO gs_json_type(j JSON) AS CASE json_type(j) WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN NULL THEN NULL ELSE CASE WHEN j IS NULL THEN NULL ELSE 'number' END END;
CREATE MACRO gs_int64(j JSON) AS CASE WHEN j IS NULL THEN NULL WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN CAST(CAST(j AS VARCHAR) AS BIGINT) WHEN json_type(j) = 'DOUBLE' AND CAST(j AS DOUBLE) = trunc(CAST(j AS DOUBLE)) THEN CAST(CAST(j AS DOUBLE) AS BIGINT) ELSE gs_py_error('The provided JSON input is not an integer') END;
CREATE MACRO gs_float64(j JSON) AS gs_float64(j, 'exact'), (j JSON, mode VARCHAR) AS CASE WHEN j IS NULL THEN NULL WHEN mode = 'exact' AND json_type(j) = 'UBIGINT' AND CAST(j AS DOUBLE) > 9223372036854775807 AND CAST(CAST(j AS DOUBLE) AS HUGEINT) <> CAST(CAST(j AS VARCHAR) AS HUGEINT) THEN gs_py_error('JSON number: ' || CAST(j AS VARCHAR) || ' cannot be converted to DOUBLE without loss of precision') WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(j AS DOUBLE) ELSE gs_py_error('The provided JSON input is not a number') END;
CREATE MACRO gs_bool(j JSON) AS CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'BOOLEAN' THEN CAST(j AS BOOLEAN) ELSE gs_py_error('The provided JSON input is not a boolean') END;
CREATE MACRO gs_lax_int64(j JSON) AS CASE json_type(j) WHEN 'BOOLEAN' THEN CAST(CAST(j AS BOOLEAN) AS BIGINT) WHEN 'VARCHAR' THEN TRY(gs_cast_int64(gs_round(CAST(json_extract_string(j, '$') AS DOUBLE)))) WHEN 'BIGINT' THEN CAST(CAST(j AS VARCHAR) AS BIGINT) WHEN 'UBIGINT' THEN TRY_CAST(CAST(j AS VARCHAR) AS BIGINT) WHEN 'DOUBLE' THEN TRY(gs_cast_int64(CAST(j AS DOUBLE))) END;
CREATE MACRO gs_lax_float64(j JSON) AS CASE json_type(j) WHEN 'VARCHAR' THEN TRY_CAST(json_extract_string(j, '$') AS DOUBLE) WHEN 'BIGINT' THEN CAST(j AS DOUBLE) WHEN 'UBIGINT' THEN CAST(j AS DOUBLE) WHEN 'DOUBLE' THEN CAST(j AS DOUBLE) END;
CREATE MACRO gs_lax_bool(j JSON) AS CASE json_type(j) WHEN 'BOOLEAN' THEN CAST(j AS BOOLEAN) WHEN 'VARCHAR' THEN TRY(gs_cast_bool(json_extract_string(j, '$'))) WHEN 'BIGINT' THEN CAST(j AS BIGINT) <> 0 WHEN 'UBIGINT' THEN CAST(j AS DOUBLE) <> 0 WHEN 'DOUBLE' THEN CAST(j AS DOUBLE) <> 0 END;
CREATE MACRO gs_lax_string(j JSON) AS CASE WHEN json_type(j) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL WHEN json_type(j) = 'DOUBLE' THEN gs_float_text(CAST(j AS DOUBLE)) ELSE json_extract_string(j, '$') END;
CREATE MACRO gs_json_strip_nulls(j JSON, p VARCHAR, a BOOLEAN, e BOOLEAN) AS CAST(gs_py_strip(CAST(j AS VARCHAR), p, a, e) AS JSON);
CREATE MACRO gs_json_keys(j JSON, depth BIGINT, mode VARCHAR) AS gs_py_json_keys(CAST(j AS VARCHAR), coalesce(depth, 1073741824), mode);
CREATE MACRO gs_json_flatten(j JSON) AS list_transform(gs_py_json_flatten(CAST(j AS VARCHAR)), lambda e: CAST(e AS JSON));
CREATE MACRO gs_json_contains(j JSON, k JSON) AS gs_py_json_contains(CAST(j AS VARCHAR), CAST(k AS VARCHAR));
CREATE MACRO gs_json_elements(j JSON, t VARCHAR) AS CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'ARRAY' THEN CAST(j AS JSON[]) ELSE gs_py_error('The provided JSON input is not an array') END;
CREATE MACRO gs_int64_array(j JSON) AS list_transform(gs_json_elements(j, 'int64'), lambda e: CASE WHEN e IS NULL OR json_type(e) = 'NULL' THEN gs_py_error('The provided JSON input is not an integer') ELSE gs_int64(e) END);
CREATE MACRO gs_lax_int64_array(j JSON) AS CASE WHEN json_type(j) = 'ARRAY' THEN list_transform(CAST(j AS JSON[]), lambda e: gs_lax_int64(e)) END;
CREATE MACRO gs_float64_array(j JSON) AS list_transform(gs_json_elements(j, 'float64'), lambda e: CASE WHEN e IS NULL OR json_type(e) = 'NULL' THEN gs_py_error('The provided JSON input is not a number') ELSE gs_float64(e) END);
CREATE MACRO gs_lax_float64_array(j JSON) AS CASE WHEN json_type(j) = 'ARRAY' THEN list_transform(CAST(j AS JSON[]), lambda e: gs_lax_float64(e)) END;
CREATE MACRO gs_bool_array(j JSON) AS list_transform(gs_json_elements(j, 'bool'), lambda e: CASE WHEN e IS NULL OR json_type(e) = 'NULL' THEN gs_py_error('The provided JSON input is not a boolean') ELSE gs_bool(e) END);
CREATE MACRO gs_lax_bool_array(j JSON) AS CASE WHEN json_type(j) = 'ARRAY' THEN list_transform(CAST(j AS JSON[]), lambda e: gs_lax_bool(e)) END;
CREATE MACRO gs_string_array(j JSON) AS list_transform(gs_json_elements(j, 'string'), lambda e: CASE WHEN e IS NULL OR json_type(e) = 'NULL' THEN gs_py_error('The provided JSON input is not a string') ELSE gs_string(e) END);
CREATE MACRO gs_lax_string_array(j JSON) AS CASE WHEN json_type(j) = 'ARRAY' THEN list_transform(CAST(j AS JSON[]), lambda e: gs_lax_string(e)) END;

-- what FORMAT is given: a letter for the type, and the text; `o` has DuckDB's type and its JSON

CREATE MACRO gs_fmt(x BIGINT) AS 'i' || x, (x HUGEINT) AS 'i' || x, (x DOUBLE) AS 'f' || gs_float_text(x), (x DECIMAL(38,9)) AS 'n' || gs_to_string(x), (x BOOLEAN) AS 'oBOOLEAN' || chr(31) || CAST(x AS VARCHAR), (x GEOMETRY) AS 'g' || gs_py_st_astext(x), (x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN 's' || CAST(x AS VARCHAR) ELSE 'o' || typeof(x) || chr(31) || CAST(to_json(x) AS VARCHAR) END;
CREATE MACRO gs_farm_fingerprint(x VARCHAR) AS gs_py_farm(encode(x)), (x BLOB) AS gs_py_farm(x);
CREATE MACRO gs_top(a, n) AS list_transform(list_slice(list_sort(list_transform(list_distinct(list_transform(a, lambda e: {'v': e})), lambda d: {'n': -len(list_filter(a, lambda e: e IS NOT DISTINCT FROM d.v)), 'v': d.v})), 1, n), lambda p: {'value': p.v, 'count': CAST(-p.n AS BIGINT)});
CREATE MACRO gs_top_sum(a, n) AS list_transform(list_slice(list_sort(list_transform(list_distinct(list_transform(a, lambda e: {'v': e.value})), lambda d: {'n': gs_neg(gs_int(list_sum(list_transform(list_filter(a, lambda e: e.value IS NOT DISTINCT FROM d.v), lambda e: e.weight)))), 'v': d.v})), 1, n), lambda p: {'value': p.v, 'sum': gs_neg(p.n)});
CREATE MACRO gs_hll_init(a BIGINT[]) AS gs_py_hll_integers(a, CAST(15 AS BIGINT)), (a BIGINT[], p BIGINT) AS gs_py_hll_integers(a, p), (a VARCHAR[]) AS gs_py_hll_bytes(list_transform(a, lambda e: encode(e)), CAST(15 AS BIGINT)), (a VARCHAR[], p BIGINT) AS gs_py_hll_bytes(list_transform(a, lambda e: encode(e)), p), (a BLOB[]) AS gs_py_hll_bytes(a, CAST(15 AS BIGINT)), (a BLOB[], p BIGINT) AS gs_py_hll_bytes(a, p), (a DECIMAL(38,9)[]) AS gs_py_hll_bytes(list_transform(a, lambda e: encode(gs_decimal_text(CAST(e AS VARCHAR)))), CAST(15 AS BIGINT)), (a DECIMAL(38,9)[], p BIGINT) AS gs_py_hll_bytes(list_transform(a, lambda e: encode(gs_decimal_text(CAST(e AS VARCHAR)))), p);
CREATE MACRO gs_hll_merge(a) AS coalesce(gs_py_hll_merge(a), 0);
CREATE MACRO gs_hll_count__extract(x BLOB) AS coalesce(gs_py_hll_extract(x), 0);
CREATE MACRO gs_to_base32(x BLOB) AS gs_py_base32(x);
CREATE MACRO gs_from_base32(x VARCHAR) AS gs_py_from_base32(x);
CREATE MACRO gs_st_geogfrom(x VARCHAR) AS gs_py_st_geogfrom(x), (x BLOB) AS gs_py_st_geogfromwkb(x, false, false, false);
CREATE MACRO gs_st_geogfromwkb(x BLOB, o, p, m) AS gs_py_st_geogfromwkb(x, o, p, m), (x VARCHAR, o, p, m) AS gs_py_st_geogfromwkb(unhex(x), o, p, m);
CREATE MACRO gs_least_float(low, high) AS CASE WHEN low IS NOT NULL AND isnan(CAST(high AS DOUBLE)) THEN CAST(high AS DOUBLE) ELSE low END;
CREATE MACRO gs_of_extreme(pairs, best) AS list_transform(list_filter(pairs, lambda p: p.w = best), lambda p: p.v);
CREATE MACRO gs_bucket_of(width, t, origin) AS time_bucket(width, t, origin);
CREATE MACRO gs_corr(c, n) AS CASE WHEN n < 2 THEN NULL ELSE coalesce(c, CAST('NaN' AS DOUBLE)) END;
CREATE MACRO gs_interval_sum(a) AS CASE WHEN len(list_filter(a, lambda e: e IS NOT NULL)) > 0 THEN list_reduce(list_filter(a, lambda e: e IS NOT NULL), lambda x, y: x + y) END;
CREATE MACRO gs_interval_avg(a) AS CASE WHEN len(list_filter(a, lambda e: e IS NOT NULL)) > 0 THEN gs_interval_div(gs_interval_sum(a), len(list_filter(a, lambda e: e IS NOT NULL))) END;
CREATE MACRO gs_bag_of_words(a VARCHAR[]) AS list_transform(list_sort(list_distinct(list_transform(a, lambda e: {'t': e})), 'ASC', 'NULLS FIRST'), lambda d: {'term': d.t, 'count': len(list_filter(a, lambda e: e IS NOT DISTINCT FROM d.t))});
CREATE MACRO gs_numbers(a) AS list_filter(a, lambda e: e IS NULL OR NOT isnan(CAST(e AS DOUBLE)));
CREATE MACRO gs_float_cont(x, nans, n, share) AS CASE WHEN share * (n - 1) < nans AND nans > 0 THEN CAST('nan' AS DOUBLE) ELSE x END;
CREATE MACRO gs_float_disc(x, nans, n, share) AS CASE WHEN share * n <= nans AND nans > 0 THEN CAST('nan' AS DOUBLE) ELSE x END;
-- encryption by keysets
CREATE MACRO gs_keys__new_keyset(t VARCHAR) AS gs_py_keys__new_keyset(t);
CREATE MACRO gs_keys__rotate_keyset(k BLOB, t VARCHAR) AS gs_py_keys__rotate_keyset(k, t);
CREATE MACRO gs_keys__add_key_from_raw_bytes(k BLOB, t VARCHAR, r BLOB) AS gs_py_keys__add_key_from_raw_bytes(k, t, r);
CREATE MACRO gs_keys__keyset_from_json(j VARCHAR) AS gs_py_keys__keyset_from_json(j);
CREATE MACRO gs_keys__keyset_to_json(k BLOB) AS gs_py_keys__keyset_to_json(k);
CREATE MACRO gs_keys__keyset_length(k BLOB) AS gs_py_keys__keyset_length(k);
CREATE MACRO gs_aead__encrypt(k BLOB, p VARCHAR, a VARCHAR) AS gs_py_aead__encrypt(k, encode(p), encode(a)), (k BLOB, p BLOB, a BLOB) AS gs_py_aead__encrypt(k, p, a);
CREATE MACRO gs_aead__decrypt_bytes(k BLOB, x BLOB, a BLOB) AS gs_py_aead__decrypt_bytes(k, x, a);
CREATE MACRO gs_aead__decrypt_string(k BLOB, x BLOB, a VARCHAR) AS gs_py_aead__decrypt_string(k, x, encode(a));
CREATE MACRO gs_deterministic_encrypt(k BLOB, p VARCHAR, a VARCHAR) AS gs_py_deterministic_encrypt(k, encode(p), encode(a)), (k BLOB, p BLOB, a BLOB) AS gs_py_deterministic_encrypt(k, p, a);
CREATE MACRO gs_deterministic_decrypt_bytes(k BLOB, x BLOB, a BLOB) AS gs_py_deterministic_decrypt_bytes(k, x, a);
CREATE MACRO gs_deterministic_decrypt_string(k BLOB, x BLOB, a VARCHAR) AS gs_py_deterministic_decrypt_string(k, x, encode(a));
