CREATE TABLE greetings (name STRING, greeting STRING)
WITH ('connector' = 'print', 'print-identifier' = 'hello');

INSERT INTO greetings VALUES ('Ada', 'good morning'), ('Grace', 'good evening');
