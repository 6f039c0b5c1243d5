// SPDX-License-Identifier: Apache-2.0
// The pages, in the order of the navigation: path, title, the key behind `g`, and what makes one.

import { overview } from './overview.js';

export const pages = [
  { path: 'overview', title: 'Overview', key: 'o', create: overview },
];
