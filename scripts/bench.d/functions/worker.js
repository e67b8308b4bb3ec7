// five.js behind workerd, one process.
import five from 'five.js';

export default {
  async fetch(request) {
    return Response.json(five({ data: await request.json() }));
  },
};
