-- BigQuery ML's manual preprocessing, where it needs more than an expression. `tops` are {value, count}, the most
-- frequent first; `words` a vocabulary in alphabetical order, whose places count from 1.
CREATE MACRO ml_vocabulary(tops, k, least) AS list_sort(list_transform(list_filter(list_slice(list_filter(tops, lambda t: t.value IS NOT NULL), 1, k), lambda t: t.count >= least), lambda t: t.value));
CREATE MACRO ml_counted(words) AS list_transform(list_sort(list_transform(map_entries(list_aggregate(list_filter(words, lambda w: w IS NOT NULL), 'histogram')), lambda p: {'n': -CAST(p.value AS BIGINT), 'v': p.key})), lambda p: {'value': p.v, 'count': -p.n});
CREATE MACRO ml_label(x, words) AS CAST(coalesce(list_position(words, x), 0) AS BIGINT);
CREATE MACRO ml_one_hot(x, words, dropped) AS [{'index': ml_label(x, words), 'value': CASE WHEN x = dropped THEN CAST(0 AS DOUBLE) ELSE CAST(1 AS DOUBLE) END}];
CREATE MACRO ml_multi_hot(xs, words) AS list_transform(list_sort(list_distinct(list_transform(coalesce(xs, CAST([] AS VARCHAR[])), lambda x: ml_label(x, words)))), lambda i: {'index': i, 'value': CAST(1 AS DOUBLE)});
CREATE MACRO ml_bag(xs, words) AS list_transform(list_sort(list_distinct(list_transform(xs, lambda x: ml_label(x, words)))), lambda i: {'index': i, 'value': CAST(len(list_filter(xs, lambda x: ml_label(x, words) = i)) AS DOUBLE)});
CREATE MACRO ml_rarities(tops, k, least, documents) AS list_transform(list_sort(list_transform(list_filter(list_slice(list_filter(tops, lambda t: t.value IS NOT NULL), 1, k), lambda t: t.count >= least), lambda t: {'v': t.value, 'n': t.count})), lambda t: ln(1 + documents / (t.n + 1)));
CREATE MACRO ml_tf_idf(xs, words, rarities) AS list_transform(ml_bag(xs, words), lambda b: {'index': b.index, 'value': b.value / len(xs) * CASE WHEN b.index = 0 THEN coalesce(list_avg(rarities), CAST(0 AS DOUBLE)) ELSE rarities[b.index] END});
CREATE MACRO ml_terms(scores, words) AS list_transform(list_zip(list_select(words, list_transform(scores, lambda s: s.index)), scores), lambda p: {'term': p[1], 'tf_idf': p[2].value});
CREATE MACRO ml_bin(x, points) AS CASE WHEN x IS NULL THEN NULL ELSE 1 + len(list_filter(points, lambda p: p <= x)) END;
CREATE MACRO ml_bin_name(bin) AS 'bin_' || bin;
CREATE MACRO ml_bound(points, i) AS CASE WHEN i < 1 THEN '-inf' WHEN i > len(points) THEN '+inf' WHEN points[i] = trunc(points[i]) AND abs(points[i]) < 1e15 THEN CAST(CAST(points[i] AS BIGINT) AS VARCHAR) ELSE CAST(points[i] AS VARCHAR) END;
CREATE MACRO ml_inner(points) AS list_slice(points, 2, len(points) - 1);
CREATE MACRO ml_bin_range(bin, points) AS CASE WHEN bin IS NULL THEN NULL ELSE (CASE WHEN bin = 1 THEN '(' ELSE '[' END) || ml_bound(points, bin - 1) || ', ' || ml_bound(points, bin) || ')' END;
CREATE MACRO ml_bin_json(bin, points) AS CASE WHEN bin IS NULL THEN NULL ELSE '{"start": "' || replace(ml_bound(points, bin - 1), 'inf', 'Infinity') || '", "end": "' || replace(ml_bound(points, bin), '+inf', 'Infinity') || '"}' END;
CREATE MACRO ml_ngrams(xs, low, high, separator) AS flatten(list_transform(generate_series(1, len(xs)), lambda i: list_transform(list_filter(generate_series(low, high), lambda n: i + n - 1 <= len(xs)), lambda n: array_to_string(list_slice(xs, i, i + n - 1), separator))));
CREATE MACRO ml_norm(xs, p) AS CASE WHEN p = 'inf'::DOUBLE THEN list_max(list_transform(xs, lambda x: abs(CAST(x AS DOUBLE)))) WHEN p = 0 THEN CAST(len(list_filter(xs, lambda x: x <> 0)) AS DOUBLE) ELSE pow(list_sum(list_transform(xs, lambda x: pow(abs(CAST(x AS DOUBLE)), p))), 1.0 / p) END;
CREATE MACRO ml_normalized(xs, p) AS list_transform(xs, lambda x: CASE WHEN ml_norm(xs, p) = 0 THEN CAST(0 AS DOUBLE) ELSE CAST(x AS DOUBLE) / ml_norm(xs, p) END);
CREATE MACRO ml_pairs(a, b) AS CASE WHEN len(a) <> len(b) THEN gs_py_error('ML.DISTANCE needs two arrays of one length, and they have ' || len(a) || ' and ' || len(b) || ' elements') ELSE list_zip(a, b) END;
CREATE MACRO ml_dense_euclidean(a, b) AS sqrt(list_sum(list_transform(ml_pairs(a, b), lambda p: pow(CAST(p[1] AS DOUBLE) - CAST(p[2] AS DOUBLE), 2))));
CREATE MACRO ml_distance_euclidean(a DOUBLE[], b DOUBLE[]) AS ml_dense_euclidean(a, b), (a BIGINT[], b BIGINT[]) AS ml_dense_euclidean(a, b), (a DECIMAL(38,9)[], b DECIMAL(38,9)[]) AS ml_dense_euclidean(a, b), (a, b) AS ml_dense_euclidean(gs_dense(gs_sparse_checked(a), b), gs_dense(gs_sparse_checked(b), a));
CREATE MACRO ml_dense_manhattan(a, b) AS list_sum(list_transform(ml_pairs(a, b), lambda p: abs(CAST(p[1] AS DOUBLE) - CAST(p[2] AS DOUBLE))));
CREATE MACRO ml_distance_manhattan(a DOUBLE[], b DOUBLE[]) AS ml_dense_manhattan(a, b), (a BIGINT[], b BIGINT[]) AS ml_dense_manhattan(a, b), (a DECIMAL(38,9)[], b DECIMAL(38,9)[]) AS ml_dense_manhattan(a, b), (a, b) AS ml_dense_manhattan(gs_dense(gs_sparse_checked(a), b), gs_dense(gs_sparse_checked(b), a));
CREATE MACRO ml_dense_cosine(a, b) AS 1 - list_sum(list_transform(ml_pairs(a, b), lambda p: CAST(p[1] AS DOUBLE) * CAST(p[2] AS DOUBLE))) / nullif(ml_norm(a, 2) * ml_norm(b, 2), 0);
CREATE MACRO ml_distance_cosine(a DOUBLE[], b DOUBLE[]) AS ml_dense_cosine(a, b), (a BIGINT[], b BIGINT[]) AS ml_dense_cosine(a, b), (a DECIMAL(38,9)[], b DECIMAL(38,9)[]) AS ml_dense_cosine(a, b), (a, b) AS ml_dense_cosine(gs_dense(gs_sparse_checked(a), b), gs_dense(gs_sparse_checked(b), a));
CREATE MACRO ml_tfdv_validate(a, b, kind, ct, cm, nt, nm, own) AS CAST(gs_py_tfdv_validate(CAST(a AS VARCHAR), CAST(b AS VARCHAR), kind, CAST(ct AS DOUBLE), cm, CAST(nt AS DOUBLE), nm, CAST(to_json(own) AS VARCHAR)) AS JSON);
