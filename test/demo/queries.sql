SELECT status, count(*), sum(total) AS value FROM shop.orders GROUP BY status ORDER BY status;
SELECT id, status, total, changed_at FROM shop.orders ORDER BY changed_at DESC LIMIT 5;   -- then: \watch 1
SELECT * FROM revenue_per_product ORDER BY revenue DESC LIMIT 5;   -- a live view: then \watch 1
SELECT * FROM open_orders ORDER BY latest DESC LIMIT 5;
SELECT view, status, exact, freshness, ticks FROM tapdata.views;
SELECT name, status, exact, lag, rows_loaded, rows_applied, position FROM tapdata.pipelines;
SELECT item, ok, detail FROM tapdata.doctor();
