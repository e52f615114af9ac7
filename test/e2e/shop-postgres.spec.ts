import { shopSuite } from './shop-suite.js';

shopSuite('postgres');
