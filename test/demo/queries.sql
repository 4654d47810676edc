SELECT status, count(*), sum(total) AS value FROM shop.orders GROUP BY status ORDER BY status;
SELECT id, status, total, changed_at FROM shop.orders ORDER BY changed_at DESC LIMIT 5;   -- then: \watch 1
SELECT p.category, sum(i.quantity * i.price) AS revenue FROM shop.order_items i JOIN shop.products p ON p.id = i.product_id GROUP BY 1 ORDER BY 2 DESC;
SELECT name, status, exact, lag, rows_loaded, rows_applied, position FROM tapdata.pipelines;
SELECT item, ok, detail FROM tapdata.doctor();
