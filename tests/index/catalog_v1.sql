-- A catalog as programs made it before there were revisions (schema version 1), dumped by sqlite3: two stores, five
-- files in six memberships (one failed, one still in the queue), one batch, one note. Frozen: do not make it anew.
BEGIN TRANSACTION;
CREATE TABLE batches (
	n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	store INTEGER NOT NULL, 
	created_at INTEGER NOT NULL, 
	UNIQUE (id), 
	FOREIGN KEY(store) REFERENCES stores (n) ON DELETE CASCADE
);
INSERT INTO "batches" VALUES(1,'vsfb_e0aa869bd60dbc2b7e36adf8',2,1795297481);
CREATE TABLE chunks (
	n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	document INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	page INTEGER, 
	headings JSON NOT NULL, 
	vector BLOB NOT NULL, 
	FOREIGN KEY(document) REFERENCES documents (n) ON DELETE CASCADE
);
INSERT INTO "chunks" VALUES(1,1,'Leave

Everyone has thirty days of holiday a year.

Notice

The notice period is six weeks.',16,107,NULL,'["Staff handbook"]',X'94B6FF2E14A4253359224BB1ABB2C92AA734A32ECB34CB30D2ACF5A84328F130E0A7452BFA2F5FB660B4DEB13C2C852D15A00C32012D419D11318BA82BB34C32');
INSERT INTO "chunks" VALUES(2,2,'The Nile flows north.',8,29,NULL,'["Rivers"]',X'6932ED2627B454AAC2B1F6ABAAAA3CB289322FAC671D3FAA7634DD2F472C422F5CAEB9345DAC473035332724D0B39D251FA4A6B65F2F6CB210AC422D74B6E630');
INSERT INTO "chunks" VALUES(3,3,'Leave

Everyone has thirty days of holiday a year.

Notice

The notice period is six weeks.',16,107,NULL,'["Staff handbook"]',X'94B6FF2E14A4253359224BB1ABB2C92AA734A32ECB34CB30D2ACF5A84328F130E0A7452BFA2F5FB660B4DEB13C2C852D15A00C32012D419D11318BA82BB34C32');
INSERT INTO "chunks" VALUES(5,6,'A batch of bread.',0,17,NULL,'[]',X'7DB1CD34CF313CA137B001337FAE9234352F82B12EAE643449317EB4B8AD6E30A6B2FE3361A999B61F28612C9B2DD3A4FC3229311AA81C301A24E43221231C28');
CREATE TABLE documents (
	n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	store INTEGER NOT NULL, 
	file INTEGER NOT NULL, 
	batch INTEGER, 
	status VARCHAR NOT NULL, 
	error_code VARCHAR, 
	error_message VARCHAR, 
	attributes JSON NOT NULL, 
	max_tokens INTEGER NOT NULL, 
	overlap INTEGER NOT NULL, 
	usage_bytes INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at INTEGER NOT NULL, 
	UNIQUE (store, file), 
	FOREIGN KEY(store) REFERENCES stores (n) ON DELETE CASCADE, 
	FOREIGN KEY(file) REFERENCES files (n) ON DELETE CASCADE, 
	FOREIGN KEY(batch) REFERENCES batches (n) ON DELETE SET NULL
);
INSERT INTO "documents" VALUES(1,1,1,NULL,'completed',NULL,NULL,'{"kind": "rules", "year": 2024}',256,0,155,1,1795297480);
INSERT INTO "documents" VALUES(2,2,2,NULL,'completed',NULL,NULL,'{}',256,0,85,1,1795297481);
INSERT INTO "documents" VALUES(3,2,1,NULL,'completed',NULL,NULL,'{}',256,0,155,1,1795297481);
INSERT INTO "documents" VALUES(5,2,4,NULL,'failed','invalid_file','The PDF is cut off: its end is missing. Upload it again.','{}',256,0,0,1,1795297481);
INSERT INTO "documents" VALUES(6,2,5,1,'completed',NULL,NULL,'{"n": 1}',256,0,81,1,1795297481);
INSERT INTO "documents" VALUES(7,1,6,NULL,'in_progress',NULL,NULL,'{}',256,0,0,0,1795297482);
CREATE TABLE facts (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('version','1');
INSERT INTO "facts" VALUES('embedder','hashed-words/32');
CREATE TABLE files (
	n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	filename VARCHAR NOT NULL, 
	bytes INTEGER NOT NULL, 
	created_at INTEGER NOT NULL, 
	expires_at INTEGER, 
	purpose VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "files" VALUES(1,'file-9a5f1faac75b95c38f4fc3ec','handbook.md',116,1795297480,NULL,'assistants','bcdf88f8eb3fa933d9fcf6dcd2d6985b7f2e2dbfa180d2cea18fa8ad251fdbeb');
INSERT INTO "files" VALUES(2,'file-e14d2baa28614177a59e4fc0','rivers.md',32,1795297481,NULL,'assistants','1f58a695465ce832b8b54bd1c7c0bb2eb13f2cd88a67233a5bb906f2772fe2fe');
INSERT INTO "files" VALUES(4,'file-d075688f0b92dfc6f16c3395','bad.pdf',15,1795297481,NULL,'assistants','cafcfe64bdc138d48572826a441e436f1f382d0a478636667a7ece5e7aff868f');
INSERT INTO "files" VALUES(5,'file-e728c91c8be1d61589b5cd8b','batch.md',17,1795297481,NULL,'assistants','6bfbecec3d749faf2dd3343c2fc24f30ea3b8f1d40cc0b9aab04df71c15b63e4');
INSERT INTO "files" VALUES(6,'file-f7622fb7b8d7b9ce41edf4f7','waiting.md',19,1795297482,NULL,'assistants','dae2d7fbdb8631821b6891f4a9d3372f69babd722d6e26610fdef529f0edfc20');
CREATE TABLE notes (
	store INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (store, "key"), 
	FOREIGN KEY(store) REFERENCES stores (n) ON DELETE CASCADE
);
INSERT INTO "notes" VALUES(2,'calibration','kept');
CREATE TABLE stores (
	n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	description VARCHAR NOT NULL, 
	metadata JSON NOT NULL, 
	created_at INTEGER NOT NULL, 
	last_active_at INTEGER NOT NULL, 
	expires_after_days INTEGER, 
	UNIQUE (id)
);
INSERT INTO "stores" VALUES(1,'vs_7a0326fedd17ee5d698239c4','default','','{}',1795297480,1795297481,NULL);
INSERT INTO "stores" VALUES(2,'vs_72ee8be8d9da2b1b4258758b','guides','how things are done','{"team": "a"}',1795297481,4102444800,30);
CREATE TABLE texts (
	file INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (file), 
	FOREIGN KEY(file) REFERENCES files (n) ON DELETE CASCADE
);
INSERT INTO "texts" VALUES(1,'Staff handbook

Leave

Everyone has thirty days of holiday a year.

Notice

The notice period is six weeks.');
INSERT INTO "texts" VALUES(2,'Rivers

The Nile flows north.');
INSERT INTO "texts" VALUES(5,'A batch of bread.');
CREATE INDEX ix_files_sha256 ON files (sha256);
CREATE INDEX ix_stores_name ON stores (name);
CREATE INDEX ix_documents_batch ON documents (batch);
CREATE INDEX ix_documents_status ON documents (status);
CREATE INDEX ix_documents_file ON documents (file);
CREATE INDEX ix_chunks_document ON chunks (document);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('stores',2);
INSERT INTO "sqlite_sequence" VALUES('files',6);
INSERT INTO "sqlite_sequence" VALUES('documents',7);
INSERT INTO "sqlite_sequence" VALUES('chunks',5);
INSERT INTO "sqlite_sequence" VALUES('batches',1);
COMMIT;
